import type { Codec } from "./codecs.ts";
import { type PageName, pageAt, pageRow } from "./pages.ts";

/** Changes that follow each other this closely are one step of undo, in milliseconds. */
const MERGE = 200;

/** Characters from which on a value counts as long. */
const LONG = 500;

interface Place {
  readonly page: PageName;
  /** Parameters by name, encoded; those at their default are absent. */
  readonly params: Readonly<Record<string, string>>;
}

/**
 * The user's place: the page, and every choice that makes up the view. It lives in the URL, non-defaults only, so that
 * a view can be linked; undo and redo act on it. Parameters are shared by name between pages.
 */
class View {
  #place = $state.raw<Place>(read());
  #past = $state.raw<readonly Place[]>([]);
  #future = $state.raw<readonly Place[]>([]);
  #lost = $state(pageAt(location.pathname) === undefined);
  #lastChange = 0;

  /** True if the address is that of no page. */
  get lost(): boolean {
    return this.#lost;
  }

  get page(): PageName {
    return this.#place.page;
  }

  get canUndo(): boolean {
    return this.#past.length > 0;
  }

  get canRedo(): boolean {
    return this.#future.length > 0;
  }

  /** The encoded value of a parameter; undefined at its default. */
  raw(name: string): string | undefined {
    return this.#place.params[name];
  }

  /** Changes parameters (undefined: back to the default), and the page where one is given, as one step of undo. */
  change(params: Readonly<Record<string, string | undefined>>, page: PageName = this.page): void {
    this.#step({ page, params: merged(this.#place.params, params) });
  }

  /** Goes to an address of the workbench as one step of undo, as a link does. */
  visit(address: Pick<URL, "pathname" | "search" | "hash">): void {
    this.#step(read(address));
  }

  #step(next: Place): void {
    if (href(next) === href(this.#place) && !this.#lost) return;
    const now = Date.now();
    const merges = now - this.#lastChange < MERGE && next.page === this.#place.page && this.#past.length > 0;
    this.#lastChange = now;
    if (!merges) this.#past = [...this.#past.slice(-99), this.#place];
    this.#future = [];
    this.#go(next, merges);
  }

  /** The address of a page with the present parameters and some changes, for links. */
  href(page: PageName, params: Readonly<Record<string, string | undefined>> = {}): string {
    return href({ page, params: merged(this.#place.params, params) });
  }

  undo(): void {
    const before = this.#past.at(-1);
    if (before === undefined) return;
    this.#past = this.#past.slice(0, -1);
    this.#future = [this.#place, ...this.#future];
    this.#lastChange = 0;
    this.#go(before);
  }

  redo(): void {
    const [next, ...rest] = this.#future;
    if (next === undefined) return;
    this.#past = [...this.#past, this.#place];
    this.#future = rest;
    this.#lastChange = 0;
    this.#go(next);
  }

  /** Takes over what the browser's own back and forward did. */
  follow(): void {
    const now = read();
    this.#lost = pageAt(location.pathname) === undefined;
    if (href(now) === href(this.#place)) return;
    this.#past = [...this.#past.slice(-99), this.#place];
    this.#future = [];
    this.#place = now;
  }

  #go(place: Place, replace = false): void {
    this.#lost = false;
    this.#place = place;
    if (replace) history.replaceState(null, "", href(place));
    else history.pushState(null, "", href(place));
  }
}

function merged(params: Place["params"], changes: Readonly<Record<string, string | undefined>>): Place["params"] {
  return Object.fromEntries(
    Object.entries({ ...params, ...changes }).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

/** Long values stand after the #, which browsers keep to themselves: a server takes only so much of an address. */
function href({ page, params }: Place): string {
  const sorted = Object.entries(params).sort(([a], [b]) => a.localeCompare(b));
  const words = (some: typeof sorted): string => new URLSearchParams(some).toString();
  const short = words(sorted.filter(([, value]) => value.length <= LONG));
  const long = words(sorted.filter(([, value]) => value.length > LONG));
  return `${pageRow(page).path}${short === "" ? "" : `?${short}`}${long === "" ? "" : `#${long}`}`;
}

function read({ pathname, search, hash }: Pick<URL, "pathname" | "search" | "hash"> = location): Place {
  const params = [search, hash.slice(1)].flatMap((part) => [...new URLSearchParams(part)]);
  return { page: pageAt(pathname) ?? "home", params: Object.fromEntries(params) };
}

export const view = new View();

/** A choice that lives in the URL. */
export interface UrlParam<T> {
  readonly name: string;
  /** Reactive; setting it is a step of undo. */
  value: T;
  /** Sets it, as a control tells of a new value. */
  readonly set: (value: T) => void;
  /** Parameters for `view.change` and `view.href` that set it. */
  to(value: T): Record<string, string | undefined>;
}

/**
 * Declares a choice that lives in the URL under a name. The same name and codec may be declared by several pages.
 * A value in the URL that the codec cannot read counts as the default.
 */
export function urlParam<T>(name: string, codec: Codec<T>): UrlParam<T> {
  const encode = (value: T): Record<string, string | undefined> => {
    const text = codec.encode(value);
    return { [name]: text === codec.encode(codec.default) ? undefined : text };
  };
  const set = (value: T): void => view.change(encode(value));
  // Decoded values keep their identity while the text stays the same.
  let cache: { text: string; value: T } | undefined;
  return {
    name,
    get value() {
      const text = view.raw(name);
      if (text === undefined) return codec.default;
      if (cache?.text !== text) cache = { text, value: codec.decode(text) ?? codec.default };
      return cache.value;
    },
    set value(value: T) {
      set(value);
    },
    set,
    to: encode,
  };
}
