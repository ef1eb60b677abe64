import { getContext, setContext } from "svelte";
import { workspace } from "../../state/workspace.svelte.ts";

/** The model or models that a figure or a table is of. */
export interface Subject {
  /** References, with ", " between several; absent where no model is meant. */
  readonly model?: string | undefined;
  /** Of the weights, in the order of the models; absent where it is not known. */
  readonly digest?: string | undefined;
}

/** Key of the context in which a page leaves its subject. */
export const SUBJECT: unique symbol = Symbol("subject");

/**
 * Says what the cards below the present component are of, where that is not the model in use: their provenance names it.
 * To be called while the component is made. @param subject asked anew whenever something leaves the page
 */
export function setSubject(subject: () => Subject): void {
  setContext(SUBJECT, subject);
}

/** The subject of the cards around the present component: the model in use, unless a component above says otherwise. */
export function subjectHere(): () => Subject {
  return getContext<(() => Subject) | undefined>(SUBJECT) ?? inUse;
}

function inUse(): Subject {
  const { info, model } = workspace;
  return { model: model || undefined, digest: info.value?.digest };
}
