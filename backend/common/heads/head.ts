/** One query or KV head of a model, both numbers from 0. */
export interface Head {
  readonly layer: number;
  readonly head: number;
}
