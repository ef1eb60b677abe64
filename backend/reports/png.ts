import { createRequire } from "node:module";
import { WIDTH } from "./svg-parts.ts";

const require = createRequire(import.meta.url);

/** Regular and bold of the font that the pictures name, from its package. */
function fontFiles(): string[] {
  return ["400Regular/Arimo_400Regular.ttf", "700Bold/Arimo_700Bold.ttf"].map((file) =>
    require.resolve(`@expo-google-fonts/arimo/${file}`),
  );
}

/**
 * Draws an SVG as PNG, with the bundled font only: the same bytes on every machine.
 * @param scale pixels of the PNG for one of the SVG, default 2
 */
export async function toPng(svg: string, scale = 2): Promise<Uint8Array> {
  const { Resvg } = await import("@resvg/resvg-js");
  const picture = new Resvg(svg, {
    fitTo: { mode: "width", value: WIDTH * scale },
    font: { loadSystemFonts: false, fontFiles: fontFiles(), defaultFontFamily: "Arimo" },
  });
  return picture.render().asPng();
}
