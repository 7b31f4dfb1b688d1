/** Where the page is: path and query of the address, which hold all state that a link should carry. */

/** A query with `patch` applied; undefined, null and "" take a key away, a list repeats it. */
export function patched(
  query: URLSearchParams,
  patch: Record<string, string | number | boolean | string[] | null | undefined>,
): URLSearchParams {
  const next = new URLSearchParams(query);
  for (const [key, value] of Object.entries(patch)) {
    next.delete(key);
    if (Array.isArray(value)) for (const item of value) next.append(key, item);
    else if (value !== undefined && value !== null && value !== "" && value !== false) {
      next.set(key, value === true ? "1" : String(value));
    }
  }
  return next;
}

/** The parts of a path as `["runs", "id"]`, decoded; what cannot be decoded stays as it is. */
export function parts(path: string): string[] {
  const decode = (part: string) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  };
  return path.split("/").filter(Boolean).map(decode);
}

/** A finite number of the query, or undefined. */
export function numberOf(query: URLSearchParams, key: string): number | undefined {
  const text = query.get(key);
  const value = text === null || text.trim() === "" ? NaN : Number(text);
  return Number.isFinite(value) ? value : undefined;
}

class Router {
  path = $state(globalThis.location?.pathname ?? "/");
  query = $state.raw(new URLSearchParams(globalThis.location?.search ?? ""));

  /** Follows back, forward, and every plain click on a link of ours. Answers how to stop. */
  start(): () => void {
    const follow = () => {
      this.path = location.pathname;
      this.query = new URLSearchParams(location.search);
    };
    const click = (event: MouseEvent) => {
      if (event.defaultPrevented || event.button !== 0) return;
      if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
      const link = event.target instanceof Element ? event.target.closest("a") : null;
      if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
      if (link.pathname.startsWith("/api/") || link.hash) return;
      event.preventDefault();
      this.go(link.pathname + link.search);
    };
    addEventListener("popstate", follow);
    document.addEventListener("click", click);
    return () => {
      removeEventListener("popstate", follow);
      document.removeEventListener("click", click);
    };
  }

  /** Opens an address of ours as a new entry of the history. */
  go(href: string): void {
    const moved = new URL(href, location.href).pathname !== this.path;
    history.pushState(null, "", href);
    this.path = location.pathname;
    this.query = new URLSearchParams(location.search);
    if (moved) scrollTo(0, 0);
  }

  /** Changes keys of the query; a new entry of the history only where `push` says so. */
  set(patch: Parameters<typeof patched>[1], push = false): void {
    const query = patched(this.query, patch);
    const text = query.toString();
    const href = location.pathname + (text && `?${text}`);
    if (push) history.pushState(null, "", href);
    else history.replaceState(null, "", href);
    this.query = query;
  }
}

export const router = new Router();
