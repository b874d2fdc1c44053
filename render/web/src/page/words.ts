// The face's controls in plain words. What moves two sides is one control, or one for each side where they are apart.
import FACE from "../../../../avatar/heads/controls.json";

export interface Control {
  text: string;
  /** Coefficients it moves, all of them together. */
  moves: string[];
}

export interface Group {
  name: string;
  controls: Control[];
  /** Turns of the neck, in both directions. */
  turns?: { text: string; axis: number; reach: number }[];
}

const HEAD: Group = {
  name: "Head",
  controls: [],
  turns: [
    { text: "Turn", axis: 1, reach: 0.4 }, { text: "Nod", axis: 0, reach: 0.3 }, { text: "Tilt", axis: 2, reach: 0.3 },
  ],
};
export const GROUPS: Group[] = [...FACE, HEAD];

/** The two sides of a control, one by one. */
export function sides(control: Control): Control[] {
  if (control.moves.length === 1) return [control];
  // "Look to its left, left" would say two things by one word.
  const organ = control.moves[0].startsWith("eye") ? " eye" : "";
  return control.moves.map((name) => ({
    text: `${control.text}, ${name.endsWith("Left") ? "left" : "right"}${organ}`, moves: [name],
  }));
}
