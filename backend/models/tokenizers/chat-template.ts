import { Template } from "@huggingface/jinja";
import { HeadscopeError } from "../../errors.ts";

/** A chat template (Jinja). */
export class ChatTemplate {
  readonly #template: Template;

  /** @throws HeadscopeError "unsupported" for a template that does not parse */
  constructor(source: string) {
    this.#template = new Template(source);
  }

  /** The text of a conversation. @param variables what the template's names stand for */
  render(variables: Readonly<Record<string, unknown>>): string {
    try {
      return this.#template.render(variables);
    } catch (cause) {
      throw new HeadscopeError("input", `the chat template refuses these messages (${(cause as Error).message})`, {
        remedy: "give a list of {role, content} that begins as the model expects",
        cause,
      });
    }
  }
}
