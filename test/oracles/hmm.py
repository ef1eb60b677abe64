"""Independent check of synthetic-tasks/hmm-mixture.ts: hidden Markov models averaged by their posterior, by the sum over all state paths.

    python hmm.py          writes hmm.json beside this file (needs nothing but Python)

No forward algorithm here: the chance of a sequence under a model is the sum over every path of hidden states, in fractions of Python's integers where the
matrices are, and the chance of a next token is a quotient of two such sums.
"""

import itertools
import json
import pathlib
import random
from fractions import Fraction

CONCEPTS, STATES, VOCABULARY, LENGTH = 3, 3, 4, 6


def row(width, generator):
    weights = [generator.randint(1, 12) ** 2 for _ in range(width)]
    return [Fraction(w, sum(weights)) for w in weights]


def chance(tokens, transition, emission):
    total = Fraction(0)
    for path in itertools.product(range(STATES), repeat=len(tokens)):
        p = Fraction(1, STATES) if path else Fraction(1)
        for t, (state, token) in enumerate(zip(path, tokens)):
            if t > 0:
                p *= transition[path[t - 1]][state]
            p *= emission[state][token]
        total += p
    return total


if __name__ == "__main__":
    generator = random.Random(5)
    models = [
        ([row(STATES, generator) for _ in range(STATES)], [row(VOCABULARY, generator) for _ in range(STATES)])
        for _ in range(CONCEPTS)
    ]
    cases = []
    for _ in range(2):
        tokens = [generator.randrange(VOCABULARY) for _ in range(LENGTH)]
        before = [[chance(tokens[:t], *model) for model in models] for t in range(LENGTH + 1)]
        averaged = [
            [float(sum(chance([*tokens[:t], v], *model) for model in models) / sum(before[t])) for v in range(VOCABULARY)]
            for t in range(LENGTH)
        ]
        own = [[float(before[t + 1][c] / before[t][c]) for t in range(LENGTH)] for c in range(CONCEPTS)]
        posterior = [float(p / sum(before[LENGTH])) for p in before[LENGTH]]
        cases.append({"tokens": tokens, "averaged": averaged, "byConcept": own, "posterior": posterior})
    flat = lambda part: [float(x) for model in models for r in model[part] for x in r]
    document = {
        "concepts": CONCEPTS,
        "states": STATES,
        "vocabulary": VOCABULARY,
        "transitions": flat(0),
        "emissions": flat(1),
        "cases": cases,
    }
    path = pathlib.Path(__file__).resolve().parent / "hmm.json"
    path.write_text(json.dumps(document) + "\n")
