import { expect } from "vitest";

/**
 * Tests whose facts do not hang on how TensorFlow runs a function: here functions run as graphs, since compiling those of small
 * models takes nine tenths of a test's time. The engine's own tests, training, real models, browsers and `npm start` compile them
 * as users' runs do.
 */
const UNCOMPILED = [
  /\/test\/unit\/(circuits|docs|heads|hooks|jobs|probes|server|store|workers)\//,
  /\/test\/unit\/models\/(backward|families|sources|weights|stops)/,
  /\/test\/unit\/models\/transformer\/(attention-kernels|recurrent-layers)/,
  /\/test\/integration\/(server|workers|cli\/(?!start))/,
  /\/test\/attacks\//,
];

const path = expect.getState().testPath ?? "";
if (UNCOMPILED.some((pattern) => pattern.test(path))) process.env.HEADSCOPE_XLA = "off";
