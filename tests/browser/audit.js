// What is wrong with the page as it is shown now, for people who do not see it, or not well.
() => {
  const problems = [];
  const complain = (element, what) =>
    problems.push(`${element.tagName.toLowerCase()}${element.id ? `#${element.id}` : ""}: ${what}`);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const isSeen = (element) =>
    element.checkVisibility({ visibilityProperty: true }) && !element.closest(".unseen");
  const byIds = (ids) => ids.split(/\s+/).map((id) => document.getElementById(id));

  // ── Names ──
  const nameOf = (element) =>
    (element.ariaLabel ||
      byIds(element.getAttribute("aria-labelledby") ?? "").map((e) => e?.textContent ?? "").join(" ").trim() ||
      [...(element.labels ?? [])].map((label) => label.textContent).join(" ") ||
      (element.matches("input") ? "" : element.textContent)).trim();
  for (const element of all("input, button, a[href], [role=group], [role=log], aside, section.card")) {
    if (isSeen(element) && !nameOf(element)) complain(element, "has no name");
  }
  for (const image of all("img")) if (image.getAttribute("alt") === null) complain(image, "has no alt");
  for (const svg of all("svg")) if (svg.ariaHidden !== "true") complain(svg, "is neither named nor hidden");

  // ── Structure ──
  if (!document.documentElement.lang) complain(document.documentElement, "has no language");
  if (!document.title) complain(document.documentElement, "has no title");
  const headings = all("h1, h2, h3").filter(isSeen);
  if (headings.filter((each) => each.matches("h1")).length !== 1) complain(document.body, "needs one h1");
  headings.reduce((before, heading) => {
    const level = Number(heading.tagName[1]);
    if (level > before + 1) complain(heading, `skips from level ${before}`);
    return level;
  }, 0);
  if (all("main").length !== 1) complain(document.body, "needs one main");
  for (const item of all("li")) if (!item.parentElement.matches("ul, ol")) complain(item, "is in no list");
  const ids = all("[id]").map((element) => element.id);
  for (const id of new Set(ids)) if (ids.indexOf(id) !== ids.lastIndexOf(id)) complain(document.body, `repeats #${id}`);
  for (const name of ["aria-labelledby", "aria-describedby", "for"]) {
    for (const element of all(`[${name}]`)) {
      if (byIds(element.getAttribute(name)).includes(null)) complain(element, `${name} leads nowhere`);
    }
  }
  for (const element of all("[tabindex]")) if (element.tabIndex > 0) complain(element, "jumps the queue of focus");
  if (document.querySelectorAll("[role=status]").length !== 1) complain(document.body, "needs one polite live region");
  if (document.querySelectorAll("[role=alert]").length !== 1) complain(document.body, "needs one urgent live region");

  // ── Sizes (WCAG 2.5.8, 1.4.10) ──
  for (const element of all("input, button, a[href]").filter(isSeen)) {
    const { width, height } = (element.closest("label") ?? element).getBoundingClientRect();
    if (width < 24 || height < 24) complain(element, `is a target of ${width} × ${height}`);
  }
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) {
    complain(document.documentElement, "scrolls sideways");
  }

  // ── Contrast (WCAG 1.4.3, 1.4.11) ──
  const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
    .getContext("2d", { willReadFrequently: true });
  const paint = (...colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) {
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
    }
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const groundsOf = (element) => {
    const grounds = [];
    for (let each = element; each; each = each.parentElement) grounds.unshift(getComputedStyle(each).backgroundColor);
    return ["canvas", ...grounds];
  };
  const luminance = ([r, g, b]) => {
    const [R, G, B] = [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * R + 0.7152 * G + 0.0722 * B;
  };
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const check = (element, colour, grounds, needed, what) => {
    const ratio = contrast(paint(...grounds, colour), paint(...grounds));
    if (ratio < needed) complain(element, `${what} contrast ${ratio.toFixed(2)} under ${needed}`);
  };
  for (const element of all("body *").filter(isSeen)) {
    const style = getComputedStyle(element);
    const hasText = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (hasText || element.matches("input")) {
      const size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      check(element, style.color, groundsOf(element), large ? 3 : 4.5, "text");
    }
    if (element.matches("input[type=text]")) {
      const edge = style.outlineStyle === "none" ? style.borderTopColor : style.outlineColor;
      check(element, edge, groundsOf(element.parentElement), 3, "edge");
    }
  }
  return problems;
}
