const KEY = "headscope.theme";

export const THEMES = ["auto", "light", "dark"] as const;
export type ThemeChoice = (typeof THEMES)[number];

/** Dark or light: the user's choice, kept in this browser, or the system's. */
class Theme {
  #choice = $state<ThemeChoice>(THEMES.find((each) => each === localStorage.getItem(KEY)) ?? "auto");
  #systemDark = $state(false);

  constructor() {
    const query = matchMedia("(prefers-color-scheme: dark)");
    this.#systemDark = query.matches;
    query.addEventListener("change", ({ matches }) => {
      this.#systemDark = matches;
    });
    this.#apply();
  }

  get choice(): ThemeChoice {
    return this.#choice;
  }

  set choice(choice: ThemeChoice) {
    this.#choice = choice;
    localStorage.setItem(KEY, choice);
    this.#apply();
  }

  /** Whether the page is dark now. Reactive. */
  get dark(): boolean {
    return this.#choice === "auto" ? this.#systemDark : this.#choice === "dark";
  }

  #apply(): void {
    if (this.#choice === "auto") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = this.#choice;
  }
}

export const theme = new Theme();
