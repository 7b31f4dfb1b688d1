import { describe, expect, it } from "vitest";

import { numberOf, parts, patched } from "./router.svelte";

describe("the address", () => {
  it("keeps what a patch does not name", () => {
    const query = new URLSearchParams("state=running&set=a%3D1&set=b%3D2&sort=name");
    expect(patched(query, { sort: null, log: true }).toString()).toBe(
      "state=running&set=a%3D1&set=b%3D2&log=1",
    );
    expect(patched(query, { set: ["c=3"], state: "", smooth: 0 }).toString()).toBe(
      "sort=name&set=c%3D3&smooth=0",
    );
    expect(query.get("sort")).toBe("name");
  });

  it("has parts, also where it is broken", () => {
    expect(parts("/runs/a%20b/")).toEqual(["runs", "a b"]);
    expect(parts("/runs/%E0%A4%A")).toEqual(["runs", "%E0%A4%A"]);
    expect(parts("/")).toEqual([]);
  });

  it("has numbers only where they are finite", () => {
    const query = new URLSearchParams("from=12&to=x&inf=Infinity&none=");
    expect(["from", "to", "inf", "none", "absent"].map((key) => numberOf(query, key))).toEqual([
      12,
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
  });
});
