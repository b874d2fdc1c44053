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
      const message = JSON.parse(text);
      if (Array.isArray(message)) this.handle(message);
      else this.handle(message.coefficients ?? message.blendshapes, message.pose);
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
