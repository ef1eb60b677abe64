import type { Store } from "../store/store.ts";

/** Uses the store of the data folder and closes it; where there is none, an empty one, and nothing is made. */
export async function withStore<T>(use: (store: Store) => T | Promise<T>): Promise<T> {
  const { openStore } = await import("../store/store.ts");
  const store = openStore({ create: false });
  try {
    return await use(store);
  } finally {
    store.close();
  }
}
