// A headless Chromium that does as it is told.
//
// Called with the page to open and how (JSON: options of a context, as Playwright has them), it runs the body of an
// async function of `page`, `context` and `seen` a line, and answers each with a line of JSON: {"ok": value} or
// {"error": text}. `seen` has what a page must not do: `errors` on its console or thrown, and `requests` it made.

"use strict";
const readline = require("node:readline");
const { chromium } = require("playwright-core");

const AsyncFunction = (async () => {}).constructor;

async function main([url, options]) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // Its sandbox does not work for root, whom the agent's tests need; it opens nothing but the agent's page.
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  });
  const context = await browser.newContext(JSON.parse(options));
  const page = await context.newPage();
  page.setDefaultTimeout(15000);
  const seen = { errors: [], requests: [] };
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) seen.errors.push(message.text());
  });
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("request", (request) => seen.requests.push(request.url()));
  const opened = await page.goto(url);
  const answer = (value) => process.stdout.write(JSON.stringify(value) + "\n");
  answer({ ok: { status: opened.status(), headers: opened.headers() } });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    try {
      const value = await new AsyncFunction("page", "context", "seen", line)(page, context, seen);
      answer({ ok: value ?? null });
    } catch (error) {
      answer({ error: String(error) });
    }
  }
  await browser.close();
}

main(process.argv.slice(2)).catch((error) => {
  process.stdout.write(JSON.stringify({ error: String(error) }) + "\n");
  process.exitCode = 1;
});
