/** Colours that tell places apart: with `PLACES` subjects of needles, such as "the blue harbour". */
export const COLOURS: readonly string[] = [
  "blue", "red", "green", "white", "golden", "grey", "silver", "brown", "violet", "yellow",
]; // biome-ignore format: a table

/** Places that needles are about. */
export const PLACES: readonly string[] = [
  "harbour", "lighthouse", "orchard", "mill", "library", "station", "bridge", "garden", "tower", "bakery",
]; // biome-ignore format: a table

/** Text around a needle: plain sentences without a number in them, that make sense in any order. */
export const FILLER: readonly string[] = [
  "The ferry left before the mist had lifted from the water.",
  "A grey cat slept on the wall until the baker opened his shop.",
  "Nobody remembered who had planted the pear trees behind the school.",
  "The clock in the square was slow, and everyone in town knew it.",
  "She folded the letter twice and put it between the pages of an atlas.",
  "Rain fell on the tin roof all night and stopped at dawn.",
  "The old carpenter sharpened his plane and said nothing.",
  "In winter the road over the pass was closed for weeks.",
  "They carried the piano up the stairs without a single scratch.",
  "The teacher wiped the board and asked for silence.",
  "Two swans crossed the pond and disappeared among the reeds.",
  "Fresh bread and coffee were waiting on the kitchen table.",
  "The museum closed early because the heating had failed.",
  "He learned to sail from his aunt, who had never liked the sea.",
  "The children built a dam of stones across the little stream.",
  "A train passed far away, and the windows trembled for a moment.",
  "The painter mixed her colours on the back of a broken plate.",
  "On market days the street smelled of oranges and fish.",
  "The doctor rode a bicycle, even when there was snow.",
  "It took them a whole summer to paint the fence.",
  "The choir practised in the chapel after supper.",
  "Somebody had left an umbrella on the last bench of the tram.",
  "The river was low, and boys walked across it without wet knees.",
  "Her brother repaired radios in a workshop under the arches.",
  "The wind turned to the north, and the fishermen stayed at home.",
  "A list of names hung beside the door of the town hall.",
  "The gardener watered the roses before the sun was high.",
  "They argued about the map until the path ended at a gate.",
  "The soup was too salty, but the guests asked for more.",
  "An owl lived in the barn and was seldom seen.",
  "The bookshop kept its best novels on the highest shelf.",
  "Snow lay on the hills long after the fields had turned green.",
  "The tailor measured the sleeve again and shook his head.",
  "Every evening the lamplighter walked from the gate to the quay.",
  "The apples were small that year, though sweeter than before.",
  "A stranger asked the way to the monastery and thanked them warmly.",
];
