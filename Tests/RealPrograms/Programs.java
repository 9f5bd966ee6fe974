import java.io.*;
import java.net.*;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.HexFormat;

/** What Java has by itself: a SOCKS socket, HttpURLConnection by SOCKS and by an HTTP proxy, and names that are not looked up. */
class Programs {
    static String read(InputStream in) throws Exception {
        return new String(in.readAllBytes(), StandardCharsets.UTF_8).strip();
    }

    static String fetch(String url, Proxy proxy) throws Exception {
        HttpURLConnection connection = (HttpURLConnection) new URL(url).openConnection(proxy);
        connection.setConnectTimeout(30000);
        connection.setReadTimeout(30000);
        return read(connection.getInputStream());
    }

    public static void main(String[] arguments) throws Exception {
        String host = arguments[0];
        int port = Integer.parseInt(arguments[1]), web = Integer.parseInt(arguments[2]), echo = Integer.parseInt(arguments[3]);
        InetSocketAddress address = new InetSocketAddress(host, port);
        Proxy socks = new Proxy(Proxy.Type.SOCKS, address), http = new Proxy(Proxy.Type.HTTP, address);

        System.out.println("socks " + fetch("http://origin.test:" + web + "/small/java", socks));
        System.out.println("http " + fetch("http://origin.test:" + web + "/small/java", http));

        try (Socket socket = new Socket(socks)) {
            socket.connect(InetSocketAddress.createUnresolved("origin.test", echo), 30000);
            byte[] data = new byte[1 << 20];
            new java.util.Random(1).nextBytes(data);
            Thread writer = new Thread(() -> {
                try {
                    socket.getOutputStream().write(data);
                    socket.shutdownOutput();
                } catch (IOException error) {
                    throw new UncheckedIOException(error);
                }
            });
            writer.start();
            byte[] answer = socket.getInputStream().readAllBytes();
            System.out.println("echo " + java.util.Arrays.equals(data, answer));
        }

        // Java sends an account whenever it is asked for one; this one has a password.
        Authenticator.setDefault(new Authenticator() {
            protected PasswordAuthentication getPasswordAuthentication() {
                return new PasswordAuthentication("alice", "secret".toCharArray());
            }
        });
        System.out.println("account " + fetch("http://origin.test:" + web + "/small/account", socks));

        try (Socket socket = new Socket(socks)) {
            socket.connect(InetSocketAddress.createUnresolved("nobody.test", 80), 30000);
            System.out.println("nobody connected");
        } catch (SocketException error) {
            System.out.println("nobody " + error.getMessage());
        }

        MessageDigest sha = MessageDigest.getInstance("SHA-256");
        HttpURLConnection large = (HttpURLConnection) new URL("http://origin.test:" + web + "/bytes/3000000").openConnection(socks);
        System.out.println("large " + HexFormat.of().formatHex(sha.digest(large.getInputStream().readAllBytes())));

        // The older form of the protocol, by a property.
        System.setProperty("socksProxyVersion", "4");
        System.out.println("socks4 " + fetch("http://127.0.0.1:" + web + "/small/java4", socks));
    }
}
