import { expect } from "vitest";
import { type ErrorKind, type ErrorParts, HeadscopeError } from "../../backend/common/errors.ts";

/** The HeadscopeError that a call ends in; anything else fails the test. */
export async function failure(call: () => unknown): Promise<HeadscopeError> {
  try {
    await call();
  } catch (error) {
    if (error instanceof HeadscopeError) return error;
    throw error;
  }
  return expect.fail("it was accepted");
}

/** Matches an error of this kind, with these parts. @param message text that has to be in it, where the wording is the fact */
export function refused(kind: ErrorKind, { message, ...parts }: ErrorParts & { message?: string } = {}): Error {
  const said = message === undefined ? {} : { message: expect.stringContaining(message) };
  return expect.objectContaining({ name: "HeadscopeError", kind, ...parts, ...said });
}

/** The error that work ends in, whatever it is. */
export function errorOf<E extends Error = HeadscopeError>(work: Promise<unknown>): Promise<E> {
  return work.then(
    (value) => expect.unreachable(`it gave ${JSON.stringify(value)}`),
    (error) => error,
  );
}
