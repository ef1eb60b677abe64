/** Milliseconds after which a page that draws no frames, such as one in the background, is not waited for. */
const LONGEST = 100;

/** Runs something once the next frame is on screen, so that what the reader waits for is drawn before it. @returns takes it back */
export function afterFrame(run: () => void): () => void {
  const rest = (): void => {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
  };
  const begin = (): void => {
    rest();
    run();
  };
  let timer = setTimeout(begin, LONGEST);
  const frame = requestAnimationFrame(() => {
    clearTimeout(timer);
    // The frame's callbacks run before it is painted, a task after them behind it.
    timer = setTimeout(begin);
  });
  return rest;
}
