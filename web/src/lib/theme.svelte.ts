/** Light or dark: by the system's preference, or by choice, which is kept in this browser. */

export type Choice = "system" | "light" | "dark";

const KEY = "taper.theme";

function stored(): Choice {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : "system";
  } catch {
    return "system"; // storage may be forbidden
  }
}

class Theme {
  choice: Choice = $state(stored());
  /** Grows with each change of colours, so that drawings know when to draw again. */
  version = $state(0);
  #prefersDark = matchMedia("(prefers-color-scheme: dark)");

  constructor() {
    this.#prefersDark.addEventListener("change", () => {
      this.#apply();
    });
    this.#apply();
  }

  choose(choice: Choice): void {
    this.choice = choice;
    try {
      if (choice === "system") localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, choice);
    } catch {
      // Then it lasts as long as the page does.
    }
    this.#apply();
  }

  #apply(): void {
    const dark = this.choice === "dark" || (this.choice === "system" && this.#prefersDark.matches);
    document.documentElement.dataset["theme"] = dark ? "dark" : "light";
    this.version += 1;
  }
}

export const theme = new Theme();

/** A colour of the style sheet, as it is now. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
