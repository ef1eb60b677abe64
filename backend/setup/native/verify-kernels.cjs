// Loads the native binding and the kernels at the path given, and multiplies. Exit code 0 when the product is right.
/** @type {Record<string, unknown>} */
const util = require("node:util");
// these two are gone since Node 23 and the package still calls them
util.isNullOrUndefined ??= (/** @type {unknown} */ value) => value === null || value === undefined;
util.isArray ??= Array.isArray;

const tf = require("@tensorflow/tfjs-node-gpu");
const { binding } = /** @type {any} */ (tf.backend());
const instructions = require(/** @type {string} */ (process.argv[2])).start(2);
const int = (/** @type {string} */ name, /** @type {number} */ value) => ({ name, type: binding.TF_ATTR_INT, value });
const shape = [int("format", 32), int("rows", 33), int("width", 64)];
const weights = Float32Array.from({ length: 33 * 64 }, (_, i) => i % 7);
const values = binding.createTensor([33 * 64], binding.TF_FLOAT, weights);
const [packed] = binding.executeOp(
  "HsPack",
  [...shape, { name: "T", type: binding.TF_ATTR_TYPE, value: 1 }],
  [values],
  1,
);
const x = binding.createTensor(
  [1, 64],
  binding.TF_FLOAT,
  Float32Array.from({ length: 64 }, (_, i) => i % 5),
);
const bytes = { name: "bytes", type: binding.TF_ATTR_BOOL, value: false };
const [y] = binding.executeOp("HsMatVec", [...shape, bytes], [x, packed.id], 1);
binding.tensorDataSync(y.id).forEach((/** @type {number} */ value, /** @type {number} */ row) => {
  let want = 0;
  for (let i = 0; i < 64; i++) want += ((row * 64 + i) % 7) * (i % 5);
  if (value !== want) throw new Error(`row ${row} of a product is ${value}, not ${want}`);
});
console.log(instructions);
