// Draws the dashboard from the answers of Prometheus that the named file has: docs/images/dashboard-{light,dark}.png.
// `make picture` makes the file and runs this. CHROMIUM names the browser (default: /usr/bin/chromium).

import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import sharp from "sharp";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const GRAFANA = here("node_modules/@grafana/ui/dist/public/");
const FONT = here("node_modules/@fontsource-variable/inter/files/inter-latin-wght-normal.woff2");
// No such host is asked: whatever the page asks for is answered from here.
const ORIGIN = "http://dashboard.invalid/";
const PAGE = '<!doctype html><body style="margin: 0">';

const shown = JSON.parse(readFileSync(process.argv[2], "utf8"));
const { outputFiles } = await build({
  entryPoints: [here("page.jsx")], bundle: true, write: false, minify: true, jsx: "automatic", logLevel: "error",
  outdir: ".", loader: { ".ttf": "empty" }, define: { "process.env.NODE_ENV": '"production"' },
});
const ending = (suffix) => outputFiles.find(({ path }) => path.endsWith(suffix)).text;
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--disable-background-networking", "--no-sandbox"] });
for (const mode of ["light", "dark"]) {
  const page = await browser.newPage({ viewport: { width: 1320, height: 1000 }, deviceScaleFactor: 2 });
  page.on("pageerror", (error) => { throw error; });
  await page.route("**", (route) => {
    const path = new URL(route.request().url()).pathname;
    if (path === "/") return route.fulfill({ body: PAGE, contentType: "text/html" });
    if (path.endsWith(".woff2")) return route.fulfill({ path: FONT });
    const icon = path.replace("/public/build/", GRAFANA);
    return existsSync(icon) ? route.fulfill({ path: icon }) : route.fulfill({ status: 404 });
  });
  await page.goto(ORIGIN);
  await page.evaluate((given) => { window.shown = given; }, { ...shown, mode });
  await page.addStyleTag({ content: ending(".css") });
  await page.addScriptTag({ content: ending(".js") });
  await page.locator("#dashboard").waitFor();
  await page.waitForLoadState("networkidle");
  const titles = await page.getByRole("heading").allTextContents();
  await sharp(await page.locator("#dashboard").screenshot())
    .withExif({ IFD0: { ImageDescription: `Panels: ${titles.join("; ")}.` } })
    .png({ palette: true, effort: 10 })
    .toFile(here(`../../docs/images/dashboard-${mode}.png`));
}
await browser.close();
