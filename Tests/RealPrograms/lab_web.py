"""web.py's server at an address that is given: lab_web.py ADDRESS."""

import os
import sys
import threading

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../EndToEnd"))

from servers import Server
from web import Web

server = Server((sys.argv[1], 0), Web)
print(server.server_address[1], flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
server.serve_forever()
