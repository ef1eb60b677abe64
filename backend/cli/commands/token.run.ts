import { dataDir } from "../../paths.ts";
import { serverToken } from "../../server/http/token.ts";
import type { Context } from "../context.ts";

/** Prints the data folder's token, made where there is none. */
export async function printToken(context: Context): Promise<void> {
  const folder = dataDir();
  const token = await serverToken(folder);
  await context.print({ token, folder }, () => token);
}
