/** True if the server lets this browser in; it says so by its answers. */
class Access {
  /** The server has asked for its token. */
  refused = $state(false);
}

export const access = new Access();
