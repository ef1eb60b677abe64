// Loads the native binding, multiplies two matrices and looks for what the patch adds. Exit code 0 when all is there.
/** @type {Record<string, unknown>} */
const util = require("node:util");
// these two are gone since Node 23 and the package still calls them
util.isNullOrUndefined ??= (/** @type {unknown} */ value) => value === null || value === undefined;
util.isArray ??= Array.isArray;

const tf = require("@tensorflow/tfjs-node-gpu");
const [value] = tf.matMul(tf.ones([64, 64]), tf.fill([64, 64], 2)).dataSync();
const { binding } = /** @type {any} */ (tf.backend());
if (tf.getBackend() !== "tensorflow" || value !== 128) throw new Error(`wrong result ${value} on ${tf.getBackend()}`);
for (const name of ["defineFunction", "removeFunction"])
  if (typeof binding[name] !== "function") throw new Error(`the binding lacks ${name}`);
// codes of narrow weights go in as they are: TF_UINT8 is 4
binding.createTensor([2, 2], 4, new Uint8Array([1, 2, 3, 255]));
console.log(`TensorFlow ${binding.TF_Version}`);
