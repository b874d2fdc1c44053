// Live coefficients from a WebSocket: one JSON message a frame.
import { type Coefficients, type Pose } from "./coefficients";
import { PlayerError } from "./errors";

type Handler = (coefficients: Coefficients, pose?: Pose | ArrayLike<number>) => void;

/** Follows a WebSocket, and connects again where it breaks off. */
export class LiveInput {
  /** Messages that were understood so far. */
  received = 0;
  private socket: WebSocket | null = null;
  private closed = false;
  private complained = false;

  constructor(private readonly url: string, private readonly handle: Handler, private readonly fail: (error: Error) => void) {
    this.connect();
  }

  close(): void {
    this.closed = true;
    this.socket?.close();
  }

  private connect(): void {
    this.socket = new WebSocket(this.url);
    this.socket.onmessage = ({ data }) => this.take(String(data));
    this.socket.onclose = () => {
      if (!this.closed) setTimeout(() => this.closed || this.connect(), 1000);
    };
  }

  private take(text: string): void {
    try {
      this.handle(...said(JSON.parse(text)));
      this.received++;
    } catch (error) {
      // A stream says the same wrong thing many times a second; once is enough.
      if (!this.complained) {
        this.fail(new PlayerError(`The live input cannot be understood: ${(error as Error).message}`));
      }
      this.complained = true;
    }
  }
}

/** What a message says, in the page's own words or in those of `avatar view --websocket`. */
function said(message: any): [Coefficients, Pose?] {
  if (typeof message !== "object" || message === null) throw new RangeError(`Expected coefficients, found ${message}.`);
  if (Array.isArray(message)) return [message];
  const { head, pose, ...rest } = message;
  const given = rest.coefficients ?? rest.weights ?? rest.blendshapes ?? rest;
  if (!Array.isArray(given)) delete given._neutral;
  return [given, pose ?? (head ? { neck: headTurn(head) } : undefined)];
}

/** A turn to the head's own left and up and a tilt to its left shoulder, in degrees, as axis-angle in radians. */
function headTurn(degrees: number[]): number[] {
  if (degrees.length !== 3) throw new RangeError("Expected three numbers for head.");
  const [yaw, pitch, roll] = degrees.map((value) => (value * Math.PI) / 360);
  const [a, b] = [Math.cos(pitch) * Math.cos(yaw), -Math.sin(pitch) * Math.cos(yaw)];
  const [c, d] = [Math.cos(pitch) * Math.sin(yaw), -Math.sin(pitch) * Math.sin(yaw)];
  const [cosine, sine] = [Math.cos(roll), -Math.sin(roll)];
  const axis = [cosine * b - sine * c, cosine * c + sine * b, cosine * d + sine * a];
  const length = Math.hypot(...axis), angle = 2 * Math.atan2(length, cosine * a - sine * d);
  return axis.map((value) => (length ? (value * angle) / length : 0));
}
