// The face's controls in plain words. What moves two sides is one control, or one for each side where they are apart.

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

const both = (text: string, stem: string): Control => ({ text, moves: [`${stem}Left`, `${stem}Right`] });
const one = (text: string, name: string): Control => ({ text, moves: [name] });

export const GROUPS: Group[] = [
  {
    name: "Mouth",
    controls: [
      both("Smile", "mouthSmile"), both("Corners down", "mouthFrown"), one("Kiss", "mouthPucker"),
      one("Round lips", "mouthFunnel"), one("Lips together", "mouthClose"), both("Lips pressed", "mouthPress"),
      both("Lips wide", "mouthStretch"), both("Dimples", "mouthDimple"), both("Upper lip up", "mouthUpperUp"),
      both("Lower lip down", "mouthLowerDown"), one("Upper lip in", "mouthRollUpper"),
      one("Lower lip in", "mouthRollLower"), one("Upper lip pushed up", "mouthShrugUpper"),
      one("Lower lip pushed up", "mouthShrugLower"), one("Mouth to its left", "mouthLeft"),
      one("Mouth to its right", "mouthRight"), one("Tongue out", "tongueOut"),
    ],
  },
  {
    name: "Jaw",
    controls: [
      one("Open", "jawOpen"), one("Forward", "jawForward"), one("To its left", "jawLeft"),
      one("To its right", "jawRight"),
    ],
  },
  {
    name: "Eyes",
    controls: [
      both("Close", "eyeBlink"), both("Wide open", "eyeWide"), both("Squint", "eyeSquint"),
      both("Look up", "eyeLookUp"), both("Look down", "eyeLookDown"),
      { text: "Look to its left", moves: ["eyeLookOutLeft", "eyeLookInRight"] },
      { text: "Look to its right", moves: ["eyeLookInLeft", "eyeLookOutRight"] },
    ],
  },
  {
    name: "Brows",
    controls: [
      both("Down", "browDown"), one("Inner ends up", "browInnerUp"), both("Outer ends up", "browOuterUp"),
    ],
  },
  {
    name: "Cheeks and nose",
    controls: [
      both("Cheeks up", "cheekSquint"), one("Cheeks puffed", "cheekPuff"), both("Nose wrinkled", "noseSneer"),
    ],
  },
  {
    name: "Head",
    controls: [],
    turns: [
      { text: "Turn", axis: 1, reach: 0.4 }, { text: "Nod", axis: 0, reach: 0.3 }, { text: "Tilt", axis: 2, reach: 0.3 },
    ],
  },
];

/** The two sides of a control, one by one. */
export function sides(control: Control): Control[] {
  if (control.moves.length === 1) return [control];
  return control.moves.map((name) => ({
    text: `${control.text}, ${name.endsWith("Left") ? "left" : "right"}`, moves: [name],
  }));
}
