/** Milliseconds of a frame that drawing may take. */
const BUDGET = 10;

const waiting = new Map<object, () => void>();
let running = false;

/**
 * Does work in one of the next frames, in the order asked for, so that many plots that change at once do not stall.
 * @param owner whose work it is: asked for again before its turn, only the last is done
 * @returns takes it back
 */
export function inTurn(owner: object, work: () => void): () => void {
  waiting.set(owner, work);
  if (!running) {
    running = true;
    requestAnimationFrame(frame);
  }
  return () => {
    if (waiting.get(owner) === work) waiting.delete(owner);
  };
}

function frame(): void {
  const began = performance.now();
  for (const [owner, work] of waiting) {
    waiting.delete(owner);
    work();
    if (performance.now() - began > BUDGET) break;
  }
  running = waiting.size > 0;
  if (running) requestAnimationFrame(frame);
}
