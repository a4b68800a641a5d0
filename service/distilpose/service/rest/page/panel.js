// The panel beside the picture: people with their keypoints, timing, and the curl line.

import { mediaType, poseUrl } from "./service.js";

/** Creates an element with a class and text, either of which may be empty. */
export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

/** The list of people. Rows are reused between answers, so that an open one stays open. */
export class PeopleList {
  #list;
  #rows = [];
  #onChosen;

  /** `onChosen` gets the number of the person pointed at or focused, or null. */
  constructor(list, onChosen) {
    this.#list = list;
    this.#onChosen = onChosen;
  }

  /** Shows these people; keypoints below the minimum score are greyed. */
  show(people, minKeypointScore) {
    while (this.#rows.length > people.length) this.#rows.pop().item.remove();
    people.forEach((person, index) => {
      if (index === this.#rows.length) this.#rows.push(this.#newRow());
      this.#fill(this.#rows[index], person, minKeypointScore);
    });
  }

  #newRow() {
    const item = element("li");
    const details = element("details");
    const summary = element("summary");
    const cells = ["number", "score", "box-score"].map((name) => element("span", name));
    summary.append(...cells);
    const table = element("table", "keypoints");
    const head = element("tr");
    for (const name of ["Keypoint", "Score", "x, y", "Sigma"]) {
      head.append(Object.assign(element("th", "", name), { scope: "col" }));
    }
    const body = element("tbody");
    table.append(element("thead"), body);
    table.tHead.append(head);
    details.append(summary, table);
    item.append(details);
    this.#list.append(item);
    const row = { item, cells, body, number: 0 };
    for (const [event, chosen] of [["pointerenter", true], ["pointerleave", false],
      ["focusin", true], ["focusout", false]]) {
      item.addEventListener(event, () => this.#onChosen(chosen ? row.number : null));
    }
    return row;
  }

  #fill(row, { number, pose }, minKeypointScore) {
    const [numberCell, score, boxScore] = row.cells;
    row.number = number;
    numberCell.textContent = `Person ${number}`;
    score.textContent = `score ${pose.score.toFixed(2)}`;
    boxScore.textContent = `box ${pose.box_score.toFixed(2)}`;
    pose.keypoints.forEach((keypoint, index) => {
      const line = row.body.rows[index] ?? newLine(row.body);
      const [name, ...values] = line.cells;
      line.className = keypoint.score < minKeypointScore ? "unsure" : "";
      name.textContent = readable(keypoint.name);
      [
        keypoint.score.toFixed(2),
        `${keypoint.x.toFixed(1)}, ${keypoint.y.toFixed(1)}`,
        `${keypoint.sigma_x.toFixed(0)} × ${keypoint.sigma_y.toFixed(0)}`,
      ].forEach((text, column) => (values[column].textContent = text));
    });
  }
}

function newLine(body) {
  const line = body.insertRow();
  line.append(Object.assign(element("th"), { scope: "row" }));
  for (let column = 0; column < 3; column += 1) line.append(element("td"));
  return line;
}

/** A keypoint's name for display: "left_wrist" becomes "left wrist". */
export function readable(name) {
  return name.replaceAll("_", " ");
}

/** Fills a table's body with the stages of a request and their shares of the round trip. */
export function showTimes(body, image) {
  const { queue, decode, detect, pose, total } = image.timing;
  const rest = Math.max(0, total - queue - decode - detect - pose);
  const rows = [
    ["Waiting in queues", queue],
    ["Decoding", decode],
    ["Finding people", detect],
    ["Finding keypoints", pose],
    ["Other work in the service", rest],
    ["Network", Math.max(0, image.roundTrip - total)],
    ["Total", image.roundTrip],
  ];
  const end = rows.reduce((sum, [, ms]) => sum + ms, -image.roundTrip);
  let start = 0;
  body.replaceChildren(...rows.map(([name, ms], index) => {
    const isSum = index === rows.length - 1;
    const line = element("tr", isSum ? "sum" : "");
    const bar = element("span", "bar");
    bar.style.marginLeft = `${(100 * start) / end}%`;
    bar.style.width = `${(100 * ms) / end}%`;
    start += ms;
    const barCell = element("td", "bars");
    if (!isSum) barCell.append(bar);
    barCell.ariaHidden = "true";
    line.append(
      Object.assign(element("th", "", name), { scope: "row" }),
      barCell,
      element("td", "", `${ms.toFixed(ms < 9.95 ? 1 : 0)} ms`),
    );
    return line;
  }));
}

/** The equivalent curl command. It never contains the API key itself. */
export function curlLine(photo, { minBoxScore, minKeypointScore, withKey }) {
  const options = { min_box_score: minBoxScore, min_keypoint_score: minKeypointScore };
  const words = [
    `curl -s ${quoted(poseUrl(options))}`,
    `-H ${quoted(`content-type: ${photo ? mediaType(photo.blob) : "image/jpeg"}`)}`,
    `--data-binary ${quoted(`@${photo?.name ?? "photo.jpg"}`)}`,
  ];
  if (withKey) words.splice(1, 0, '-H "x-api-key: $API_KEY"');
  return words.join(" \\\n  ");
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
