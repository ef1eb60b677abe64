import { join } from "node:path";
import { readIfThere, sizeOf } from "../files.mjs";

/** The TensorFlow library: any CPython's wheel will do, since nothing here links to Python. */
export const TENSORFLOW = {
  package: "tensorflow-cpu",
  version: "2.21.0",
  file: "tensorflow_cpu-2.21.0-cp312-cp312-manylinux_2_27_x86_64.whl",
  sha256: "dcc8afd32930e42d5296b6ee19078b773706830af4ea97fbe503b9f5e0f820cb",
  bytes: 274_000_871,
  platform: "--platform manylinux_2_27_x86_64 --implementation cp --python-version 3.12 --abi cp312".split(" "),
};

/** The libraries that the binding is linked to. */
export const LIBRARIES = ["libtensorflow_cc.so.2", "libtensorflow_framework.so.2"];

/** Headers beside the C API's own that its headers for kernels include. */
const KERNEL_HEADERS = [
  "tensorflow/c/experimental/stream_executor/stream_executor.h",
  "tensorflow/core/common_runtime/next_pluggable_device/c/tf_rendezvous_c_api.h",
  "tsl/platform/platform.h",
];

/**
 * Chooses the files of the wheel that are needed, of more than 15,000, and where they go.
 * @param {string} name in the wheel
 * @returns {string | undefined} path below the library folder
 */
export function chooseFromWheel(name) {
  const wanted =
    /^tensorflow\/(libtensorflow_(cc|framework)\.so\.2|include\/LICENSE|include\/(tensorflow\/c\/(eager\/)?[^/]+\.h|(tensorflow\/core|tsl)\/platform\/ctstring[^/]*\.h|(xla\/)?tsl\/c\/[^/]+\.h))$/;
  const path = name.replace(/^tensorflow\//, "");
  return wanted.test(name) || KERNEL_HEADERS.some((header) => name === `tensorflow/include/${header}`)
    ? path
    : undefined;
}

/** The same without the libraries: what a cache of an earlier version lacks. @param {string} name @returns {string | undefined} */
export function chooseHeaders(name) {
  const path = chooseFromWheel(name);
  return path?.startsWith("include/") ? path : undefined;
}

/** @param {string} cache @returns {string} folder of the TensorFlow libraries, where the binding finds them at run time */
export function libraryFolder(cache) {
  return join(cache, `tensorflow-${TENSORFLOW.version}`);
}

/** Tells whether the libraries lie whole in the cache: the record that is written last names their sizes. @param {string} cache */
export function hasLibraries(cache) {
  const folder = libraryFolder(cache);
  const record = readIfThere(join(folder, "contents.json"));
  if (record === undefined) return false;
  const { wheel, files } = JSON.parse(record);
  return (
    wheel === TENSORFLOW.sha256 && Object.entries(files).every(([name, bytes]) => sizeOf(join(folder, name)) === bytes)
  );
}

/** Tells whether the headers that kernels are compiled with are in the cache. @param {string} cache */
export function hasKernelHeaders(cache) {
  return KERNEL_HEADERS.every((header) => sizeOf(join(libraryFolder(cache), "include", header)) !== undefined);
}
