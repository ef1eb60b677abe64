const KEY = "headscope.theme";

export const THEMES = ["auto", "light", "dark"] as const;
export type ThemeChoice = (typeof THEMES)[number];

/** Dark or light: the user's choice, kept in this browser, or the system's. */
class Theme {
  #choice = $state<ThemeChoice>(THEMES.find((each) => each === localStorage.getItem(KEY)) ?? "auto");
  #systemDark = $state(false);
  #printing = $state(false);

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

  /** True if the page is dark now. Reactive. */
  get dark(): boolean {
    if (this.#printing) return false;
    return this.#choice === "auto" ? this.#systemDark : this.#choice === "dark";
  }

  /** Draws something as on light ground, such as a figure that leaves the page; the page itself shows nothing of it. */
  light<T>(draw: () => T): T {
    this.#printing = true;
    this.#apply();
    try {
      return draw();
    } finally {
      this.#printing = false;
      this.#apply();
    }
  }

  #apply(): void {
    const choice = this.#printing ? "light" : this.#choice;
    if (choice === "auto") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = choice;
  }
}

export const theme = new Theme();
