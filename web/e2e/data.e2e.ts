import { expect, test } from "vitest";

import { badge, begin, context, end, field, page, server } from "./session";
import { zipOf } from "../src/tab/zip";
import { classes, idx, tar, unzip } from "./zip";

/** Data sets and teachers of one's own on the page: uploaded, looked at, trained on. */

begin();

test("a data set is uploaded, looked at, and deleted", async () => {
  const [train, test] = [idx(200, 12), idx(50, 12)];
  const archive = tar(
    new Map([
      ["train-images-idx3-ubyte", train.images],
      ["train-labels-idx1-ubyte", train.labels],
      ["t10k-images-idx3-ubyte", test.images],
      ["t10k-labels-idx1-ubyte", test.labels],
    ]),
  );
  await page.goto(`${server.origin}/datasets`);
  await page
    .locator("#archive")
    .setInputFiles({ name: "squares.tar", mimeType: "application/x-tar", buffer: archive });
  await page.getByRole("button", { name: "Upload" }).click();
  await page.locator(".samples img").first().waitFor();
  await expect
    .poll(() =>
      page
        .locator(".samples img")
        .evaluateAll((images) => images.every((image) => (image as HTMLImageElement).naturalWidth > 0)),
    )
    .toBe(true);
  // What training makes of them: a drawing by a seed, and another one by the next.
  await page.getByText("As training sees them").click();
  const drawing = page.getByLabel(/^Training pictures of squares/);
  const bytes = () =>
    drawing.evaluate((canvas) =>
      (canvas as HTMLCanvasElement).getAttribute("aria-busy") === "true"
        ? ""
        : (canvas as HTMLCanvasElement).toDataURL(),
    );
  await expect.poll(bytes, { timeout: 30_000 }).not.toBe("");
  const [first, width] = [await bytes(), await drawing.evaluate((of) => (of as HTMLCanvasElement).width)];
  expect(width).toBe(8 * (12 + 2) - 2);
  await page.getByRole("button", { name: "Draw again" }).click();
  await expect.poll(async () => ["", first].includes(await bytes()), { timeout: 30_000 }).toBe(false);
  await page.getByRole("spinbutton", { name: "Size" }).fill("0");
  await page.getByRole("alert").filter({ hasText: "must be 1 to 512" }).waitFor();
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("button", { name: "Delete the data set" }).click();
  await expect.poll(() => page.getByText("squares", { exact: true }).count()).toBe(0);
});

/** Changes of the form's that make a run on pictures last seconds. */
const QUICK = Object.entries({
  "data.size": 16,
  "wide.epochs": 4,
  "vanilla.epochs": 4,
  "narrow.epochs": 0.25,
  "tune.epochs": 3,
});
const inAddress = (set: [string, unknown][]) =>
  set.map(([key, value]) => `&set=${encodeURIComponent(`${key}=${JSON.stringify(value)}`)}`).join("");

test("own pictures in a zip of class folders come to a model that is downloaded", async () => {
  const files = [...classes(20, 24)].map(([name, data]) => ({
    name,
    file: new Blob([new Uint8Array(data)]),
  }));
  const buffer = Buffer.from(await (await zipOf(files)).arrayBuffer());
  await page.goto(`${server.origin}/datasets`);
  await page.locator("#archive").setInputFiles({ name: "flowers.zip", mimeType: "application/zip", buffer });
  await page.getByRole("button", { name: "Upload" }).click();
  await page.getByText("12 of 60 pictures are held out for testing").waitFor();
  const row = page.locator("tr").filter({ hasText: "flowers" }).first();
  expect(
    (await row.locator("td").allTextContents())
      .slice(2, 5)
      .map((text) => text.trim().replaceAll(/\s+/g, " ")),
  ).toEqual(["48", "12 held out", "3"]);
  expect(await page.locator(".classes .num").allTextContents()).toEqual(["16 + 4", "16 + 4", "16 + 4"]);
  await page.locator(".samples img").first().waitFor();

  await row.getByRole("link", { name: "Use" }).click();
  await page.getByRole("heading", { name: "Chosen by your pictures" }).waitFor();
  await page.getByText("the shorter sides have 24 pixels").waitFor();
  expect(await field("data-size").inputValue()).toBe("24");
  await page.getByText("Ready: everything fits.").waitFor({ timeout: 60_000 });
  // Another preset keeps the pictures, and says what it had to give up for them.
  await page.getByRole("radio", { name: /^cifar10-resnet-thin/ }).check({ force: true });
  await page.getByText("asks for 10,000 training images, and flowers has 60 in all").waitFor();
  expect(await field("data-path").inputValue()).toBe("dataset:flowers");
  await page.getByText("Ready: everything fits.").waitFor({ timeout: 60_000 });
  await page.goBack();
  await page.getByRole("heading", { name: "Chosen by your pictures" }).waitFor();

  await page.goto(`${page.url()}${inAddress(QUICK)}`);
  await page.locator("#run-name").fill("blooms");
  await page.getByText("Ready: everything fits.").waitFor({ timeout: 60_000 });
  await page.getByRole("button", { name: "Start" }).click();
  await page.waitForURL(/\/runs\//);
  await badge().filter({ hasText: "done" }).waitFor({ timeout: 200_000 });
  const zip = await context.request.get(`${page.url().replace("/runs/", "/api/runs/")}/artifacts.zip`);
  const model = unzip(await zip.body());
  const config = [...model].find(([name]) => name.endsWith("/config.json"))?.[1].toString("utf8") ?? "";
  const { size, labels } = JSON.parse(config) as { size: number; labels: string[] };
  expect([size, labels]).toEqual([16, ["iris", "lily", "rose"]]);
});

test("a model that was downloaded teaches other classes, with a new head", async () => {
  const listed = (await (await context.request.get(`${server.origin}/api/runs`)).json()) as {
    runs: { id: string; name: string }[];
  };
  const id = listed.runs.find(({ name }) => name === "blooms")?.id;
  const zip = await context.request.get(`${server.origin}/api/runs/${id}/artifacts.zip`);
  const files = [...classes(20, 16)]
    .filter(([name]) => !name.includes("lily"))
    .map(([name, data]) => ({ name, file: new Blob([new Uint8Array(data)]) }));
  const buffer = Buffer.from(await (await zipOf(files)).arrayBuffer());
  await page.goto(`${server.origin}/datasets`);
  await page.locator("#archive").setInputFiles({ name: "pair.zip", mimeType: "application/zip", buffer });
  await page.getByRole("button", { name: "Upload" }).click();
  await page.getByText("8 of 40 pictures are held out for testing").waitFor();
  const row = page.locator("tr").filter({ hasText: "pair" }).first();
  await row.getByRole("link", { name: "Use" }).click();
  await page.getByRole("heading", { name: "Chosen by your pictures" }).waitFor();
  await page.goto(`${page.url()}${inAddress(QUICK)}`);
  await page.locator("#run-name").fill("pupil");
  await page.locator("#teacher-file").setInputFiles({
    name: "Blooms (1).zip",
    mimeType: "application/zip",
    buffer: await zip.body(),
  });
  await expect
    .poll(() => page.locator("#teacher-choice").inputValue(), { timeout: 60_000 })
    .toBe("teacher:blooms-1");
  // It tells three classes apart: this is refused beside its field, with what helps.
  await page.getByText("which the data lack").first().waitFor({ timeout: 60_000 });
  await page.getByText("gives it a head for these classes").first().waitFor();
  await page
    .getByRole("group", { name: "head", exact: true })
    .getByRole("button", { name: "new", exact: true })
    .click();
  await page.getByText("its head for 3 classes gives way to a fresh one for the 2 of the data").waitFor({
    timeout: 60_000,
  });
  await page.getByText("Ready: everything fits.").waitFor({ timeout: 60_000 });
  await page.getByRole("button", { name: "Start" }).click();
  await page.waitForURL(/\/runs\//);
  await badge().filter({ hasText: "done" }).waitFor({ timeout: 200_000 });
  const run = (await (await context.request.get(page.url().replace("/runs/", "/api/runs/"))).json()) as {
    members: { member: string; accuracy: number | null }[];
    stages: { member: string; stage: string }[];
  };
  expect(run.members.find(({ member }) => member === "teacher-0")?.accuracy).toBeGreaterThan(0);
  expect(run.stages.filter(({ member }) => member === "teacher-0").map(({ stage }) => stage)).toEqual([
    "head",
    "wide",
  ]);
});

end();
