import { MEN, WOMEN } from "../pairs/base.ts";

// Words that answers are made of. None holds another, and none stands in the sentences around needles.

/** Animals, each a common word. */
export const ANIMALS: readonly string[] = [
  "zebra", "tiger", "rabbit", "camel", "monkey", "dolphin", "giraffe", "turtle", "penguin", "elephant", "lizard", "spider",
  "kangaroo", "leopard", "squirrel", "hamster", "panther", "walrus", "beaver", "ostrich",
]; // biome-ignore format: a table

/** Fruits and other plants that are eaten. */
export const FRUITS: readonly string[] = [
  "lemon", "mango", "banana", "cherry", "peach", "apricot", "plum", "papaya", "coconut", "raspberry", "strawberry", "melon",
  "grape", "pumpkin", "walnut", "almond", "chestnut", "blueberry", "tomato", "carrot",
]; // biome-ignore format: a table

/** Cities. */
export const CITIES: readonly string[] = [
  "Paris", "London", "Berlin", "Madrid", "Rome", "Vienna", "Tokyo", "Moscow", "Dublin", "Oslo", "Athens", "Lisbon", "Cairo",
  "Delhi", "Boston", "Chicago", "Toronto", "Sydney", "Milan", "Prague",
]; // biome-ignore format: a table

/** Things of a house. */
export const THINGS: readonly string[] = [
  "hammer", "bucket", "basket", "ladder", "candle", "carpet", "pillow", "mirror", "blanket", "bottle", "barrel", "shovel",
  "kettle", "lantern", "drawer", "cushion", "suitcase", "statue", "curtain", "stove",
]; // biome-ignore format: a table

/** First names, without those that stand in other words ("market", "tomato"). */
export const NAMES: readonly string[] = [...WOMEN, ...MEN].filter((name) => !["Mark", "Tom"].includes(name));
