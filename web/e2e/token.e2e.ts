import { expect, test } from "vitest";

import { Server } from "./server";
import { begin, browser, end } from "./session";

/** A server that others reach. */

begin();

test("a server for others asks for its token, once", async () => {
  const others = await Server.start("0.0.0.0");
  const guest = await browser.newContext();
  try {
    const token = /token: (\S+)/.exec(others.log)?.[1] ?? "";
    expect(token.length).toBeGreaterThanOrEqual(22);
    const tab = await guest.newPage();
    await tab.goto(`${others.origin}/devices`);
    await tab.getByLabel("Token").fill("no such token");
    await tab.getByRole("button", { name: "Enter" }).click();
    await tab.getByRole("alert").waitFor();
    await tab.getByLabel("Token").fill(token);
    await tab.getByRole("button", { name: "Enter" }).click();
    await tab.getByRole("button", { name: "Self-test" }).first().waitFor();
    await tab.getByRole("status").getByText("live").waitFor();
    await tab.reload();
    await tab.getByRole("button", { name: "Self-test" }).first().waitFor();
    // The address that was printed enters as well, and shows its token to nobody.
    const other = await browser.newContext();
    const entered = await other.newPage();
    await entered.goto(`${others.origin}/devices#token=${token}`);
    await entered.getByRole("button", { name: "Self-test" }).first().waitFor();
    expect(entered.url()).toBe(`${others.origin}/devices`);
    await other.close();
    // The cookie is not for scripts, and the token stands nowhere.
    expect(
      await tab.evaluate(() => document.cookie + JSON.stringify(localStorage) + location.href),
    ).not.toContain(token);
  } finally {
    await guest.close();
    await others.remove();
  }
});

end();
