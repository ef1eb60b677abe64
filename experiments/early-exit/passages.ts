/** Texts written for headscope, prose and code in turn, of at least 120 tokens each. */
export const PASSAGES: readonly { readonly kind: "prose" | "code"; readonly text: string }[] = [
  {
    kind: "prose",
    text: `The lake lies in a wide valley between two ranges of low hills. In winter it freezes from the northern shore, and by the middle of January the ice is thick enough to walk on. Fishermen from the villages cut round holes in it and sit beside them on wooden boxes, wrapped in heavy coats. In the evening they carry home what they have caught and clean it on tables outside their houses. When the ice breaks in March, the sound can be heard for several miles, and the children run down to the water to watch the plates drift slowly towards the outlet. By May the water is warm enough for swimming, and the first visitors arrive from the city.`,
  },
  {
    kind: "code",
    text: `def moving_average(values, window):
    """Return the mean of every run of \`window\` values."""
    if window < 1:
        raise ValueError("window must be at least 1")
    total = sum(values[:window])
    result = [total / window]
    for i in range(window, len(values)):
        total += values[i] - values[i - window]
        result.append(total / window)
    return result


def median(values):
    """Return the middle value of a list, or the mean of the two middle values."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2 == 1:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2
`,
  },
  {
    kind: "prose",
    text: `A good loaf of bread needs only flour, water, salt and time. Mix the flour and the water first and leave them alone for half an hour, so that the flour can take up the water before the salt is added. Then fold the dough over itself every thirty minutes, four times in all. It should become smooth and hold its shape. Cover the bowl and put it in a cool place overnight. In the morning, heat the oven as far as it will go, with a heavy pot inside. Shape the dough into a ball, place it in the hot pot, and cut the top with a sharp knife. Bake it with the lid on for twenty minutes, then take the lid off and bake it until the crust is dark brown.`,
  },
  {
    kind: "code",
    text: `class Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)

    def pop(self):
        if not self.items:
            raise IndexError("pop from an empty stack")
        return self.items.pop()

    def peek(self):
        if not self.items:
            raise IndexError("peek at an empty stack")
        return self.items[-1]

    def is_empty(self):
        return len(self.items) == 0

    def __len__(self):
        return len(self.items)
`,
  },
  {
    kind: "prose",
    text: `The company was founded by two brothers who repaired bicycles in a small workshop behind the railway station. Within ten years it made its own frames, and after the war it began to build motorcycles as well. The first model sold poorly, because it was heavy and expensive, but the second was light, cheap and easy to mend. Farmers bought it to ride between their fields, and the post office ordered three thousand of them. By the end of the decade the factory employed more than two thousand people, and its products were sold in twelve countries. The brothers never moved their office out of the old workshop, where visitors can still see the bench on which they worked.`,
  },
  {
    kind: "code",
    text: `function groupBy(items, key) {
  const groups = new Map();
  for (const item of items) {
    const value = key(item);
    if (!groups.has(value)) {
      groups.set(value, []);
    }
    groups.get(value).push(item);
  }
  return groups;
}

function countBy(items, key) {
  const counts = new Map();
  for (const item of items) {
    const value = key(item);
    counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  return counts;
}

module.exports = { groupBy, countBy };
`,
  },
  {
    kind: "prose",
    text: `Scientists have long known that birds use the sun and the stars to find their way, but they can also feel the magnetic field of the earth. In one experiment, young birds were kept in a room without windows and observed in the autumn, when their relatives fly south. Although they could see neither the sun nor the stars, they gathered on the southern side of their cages. When the researchers turned the magnetic field around with large coils, the birds moved to the other side. How they sense the field is still not clear. Some researchers believe that it changes chemical reactions in the eye, so that the birds may be able to see it as a pattern of light and shade.`,
  },
  {
    kind: "code",
    text: `import json
import os


def load_settings(path):
    """Read settings from a JSON file, or return the defaults where there is none."""
    defaults = {"host": "localhost", "port": 8080, "debug": False}
    if not os.path.exists(path):
        return defaults
    with open(path, "r", encoding="utf-8") as file:
        settings = json.load(file)
    for name, value in defaults.items():
        if name not in settings:
            settings[name] = value
    return settings


def save_settings(path, settings):
    """Write settings to a JSON file."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(settings, file, indent=4)
`,
  },
];
