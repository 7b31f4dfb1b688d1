import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

import { begin, end, field, page, server } from "./session";

/** A new run on the page: its form, what is wrong with it, and its configuration as a file. */

begin();

test("an empty server says what to do first", async () => {
  await page.goto(server.origin);
  await page.getByText("No run yet.").waitFor();
  await page.getByRole("status").getByText("live").waitFor();
});

test("devices are listed with their limits, and a CPU is called one", async () => {
  await page.goto(`${server.origin}/devices`);
  await page.getByRole("button", { name: "Self-test" }).first().waitFor();
  expect(await page.getByText("Limits").count()).toBeGreaterThan(0);
  await page.getByRole("button", { name: "Self-test" }).first().click();
  await page.getByText("Passed").waitFor({ timeout: 200_000 });
});

test("the form begins with what matters, finds the rest, and leads to what is wrong", async () => {
  await page.goto(`${server.origin}/new?preset=demo`);
  await page.getByText("Ready: everything fits.").first().waitFor();
  const fields = page.locator(".form .field");
  expect(await fields.count()).toBeLessThanOrEqual(12);
  const search = page.getByRole("searchbox", { name: "Find a setting" });
  await search.fill("tune.weight decay");
  await field("tune-weight_decay").waitFor();
  expect(await fields.count()).toBe(1);
  await search.fill("memory budget");
  await field("memory_budget").fill("1000");
  await search.fill("");
  // What was changed stays in sight, and the verdict names it.
  await field("memory_budget").waitFor();
  await page.evaluate(() => {
    scrollTo(0, 0);
  });
  await page.getByRole("button", { name: "Go to memory_budget" }).click();
  await expect.poll(() => page.evaluate(() => document.activeElement?.id)).toBe("field-memory_budget");
  await page.getByRole("button", { name: "Reset memory_budget" }).click();
  await page.getByRole("button", { name: /^all \d/ }).click();
  await page.getByRole("button", { name: "Baselines" }).click();
  await expect.poll(() => page.evaluate(() => document.activeElement?.textContent)).toBe("Baselines");
  await page.getByRole("checkbox", { name: "fitnets" }).uncheck();
  await page.getByText("[fitnets] is for methods that this run does not have").waitFor();
});

test("a bad value is refused beside its field, and the address carries the form", async () => {
  await page.goto(`${server.origin}/new?preset=demo&form=all`);
  await page.getByText("Ready: everything fits.").first().waitFor();
  await field("tune-lr").fill("-1");
  await page.getByText("at least 0").waitFor();
  expect(await page.getByRole("button", { name: "Start" }).isDisabled()).toBe(true);
  await field("tune-lr").fill("0.01");
  await page.getByText("at least 0").waitFor({ state: "detached" });
  expect(page.url()).toContain("set=tune.lr%3D0.01");
  // What the page cannot know, the server says: hidden layers and blocks have to agree.
  await field("model-blocks").fill("3, 3");
  await page.locator(".field.wrong").first().waitFor();
  await page.reload();
  await field("tune-lr").waitFor();
  expect(await field("tune-lr").inputValue()).toBe("0.01");
  await page.getByRole("button", { name: "Reset model.blocks" }).click();
  await page.getByText("Ready: everything fits.").first().waitFor();
  expect(page.url()).not.toContain("model.blocks");
});

test("the configuration goes down as TOML and comes up again", async () => {
  const saving = page.waitForEvent("download");
  await page.getByRole("button", { name: "Save TOML" }).click();
  const toml = readFileSync(await (await saving).path(), "utf8");
  expect(toml).toMatch(/\[tune\][^[]*lr = 0\.01/);
  await page.goto(`${server.origin}/new?preset=demo&form=all`);
  await field("tune-lr").waitFor();
  const file = { name: "mine.toml", mimeType: "application/toml", buffer: Buffer.from(toml) };
  await page.locator("#toml-file").setInputFiles(file);
  await page.waitForURL(/set=tune\.lr%3D0\.01/);
  expect(await page.locator("code").filter({ hasText: "taper run demo" }).first().textContent()).toContain(
    "--set tune.lr=0.01",
  );
  await page.locator("#toml-file").setInputFiles({ ...file, buffer: Buffer.from("[tune]\nlrr = 1\n") });
  await page.getByRole("alert").filter({ hasText: "lrr" }).waitFor();
});

end();
