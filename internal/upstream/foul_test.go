package upstream

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// foul makes answers of which every part may be wrong, and which are right often
// enough that the next part is looked at too.
type foul struct {
	*rand.Rand

	world *world // what is right; nil = anything
}

func (f foul) one(of ...string) string { return of[f.IntN(len(of))] }

// often is true n times of ten.
func (f foul) often(n int) bool { return f.IntN(10) < n }

// junk is text of no meaning. What stands in it must not come out in an error.
func (f foul) junk() string {
	switch f.IntN(8) {
	case 0:
		return ""
	case 1:
		return strings.Repeat("canary,", f.IntN(2000))
	case 2:
		return strings.Repeat(`"\`, f.IntN(50)) + "canary"
	case 3:
		return "\x00\x7f\xff canary"
	case 4:
		return strconv.FormatInt(f.Int64()-f.Int64(), 10) + strings.Repeat("9", f.IntN(30))
	case 5:
		return f.one("=", ";", ",", "<", ">", "<>", `""`, "canary=", "é", "../canary", "%00", "*/*", "-", "null", "\t")
	default:
		raw := make([]byte, f.IntN(40))
		for i := range raw {
			raw[i] = byte(' ' + f.IntN(95))
		}
		return string(raw)
	}
}

// or is the value, or junk in its place or around it.
func (f foul) or(value string) string {
	switch f.IntN(12) {
	case 0:
		return f.junk()
	case 1:
		return f.junk() + value
	case 2:
		return value + f.junk()
	case 3:
		return strings.ToUpper(value)
	}
	return value
}

func (f foul) url(host string) string {
	switch f.IntN(10) {
	case 0:
		return f.junk()
	case 1:
		return f.one("file:///etc/passwd", "//evil.test/x", "http://127.0.0.1/", "http://[::1", "http://169.254.169.254/", "http://u:p@hub.test/", "?x", "#", "", ".")
	case 2, 3:
		return f.or("http://cdn.test/x?signature=canary")
	case 4:
		return "http://hub.test:" + f.or("80") + "/v2/"
	}
	return f.or("http://"+host) + f.or("/v2/library/alpine/next") + "?" + f.or("n=1&last=b")
}

// answer returns the raw bytes of an answer to a request, and how it goes on: it
// may be followed by zeros, or by silence.
func (f foul) answer(r *http.Request) (raw string, endless, silent bool) {
	body, mediaType := f.body(r)
	if f.world != nil && f.often(5) {
		return f.truth(r), false, false
	}
	var b strings.Builder
	status := 200
	if f.often(5) {
		status = []int{100, 101, 103, 199, 201, 202, 204, 206, 206, 206, 226, 299, 300, 301, 302, 303, 304, 305, 307, 308, 399, 400, 401, 401, 401, 403, 404, 404, 405, 407, 410, 416, 418, 429, 429, 431, 451, 499, 500, 501, 502, 503, 504, 599, 600, 999}[f.IntN(46)]
	}
	version := "HTTP/1.1"
	if f.IntN(40) == 0 {
		version = f.one("HTTP/1.0", "HTTP/2.0", "HTTP/9.9", "ICY", "", f.junk())
	}
	code := strconv.Itoa(status)
	if f.IntN(60) == 0 {
		code = f.junk()
	}
	fmt.Fprintf(&b, "%s %s canary\r\n", version, code)
	set := func(chance int, name, value string) {
		if f.IntN(100) < chance {
			fmt.Fprintf(&b, "%s: %s\r\n", name, strings.NewReplacer("\r", "", "\n", "").Replace(value))
		}
	}
	set(90, "Content-Type", f.or(mediaType))
	set(60, "Docker-Content-Digest", f.or(oci.Sum([]byte(body)).String()))
	set(map[bool]int{true: 95, false: 5}[status == 401], "WWW-Authenticate", f.challenge())
	set(map[bool]int{true: 95, false: 5}[status >= 300 && status < 400], "Location", f.url(r.Host))
	set(map[bool]int{true: 90, false: 3}[status == 429 || status == 503], "Retry-After", f.or(f.one("1", "0", "-1", "120", "1000000000000", "Wed, 21 Oct 2065 07:28:00 GMT", "Wed, 21 Oct 1965 07:28:00 GMT")))
	set(20, "Link", f.or("<"+f.url(r.Host)+`>; rel="next"`))
	set(map[bool]int{true: 95, false: 3}[status == 206], "Content-Range", f.or(fmt.Sprintf("bytes %d-%d/%d", f.IntN(3), len(body)-1, len(body))))
	set(4, "Content-Encoding", f.one("gzip", "identity", "br", "canary"))
	set(5, "Set-Cookie", "canary="+f.junk())
	set(5, "Connection", f.one("close", "keep-alive", "Upgrade"))
	set(2, "X-"+strings.Repeat("x", f.IntN(100)), strings.Repeat("canary", f.IntN(20_000)))
	set(2, "OCI-Subject", f.junk())
	switch n := f.IntN(20); {
	case n < 13:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", len(body))
	case n == 13:
		fmt.Fprintf(&b, "Content-Length: %s\r\n\r\n", f.or(strconv.Itoa(len(body)+f.IntN(100)-50)))
	case n == 14:
		fmt.Fprintf(&b, "Content-Length: %s\r\n\r\n", f.one("-1", "9223372036854775807", "99999999999999999999", "1099511627776", "+5", "0x10"))
	case n == 15:
		fmt.Fprintf(&b, "Content-Length: 1\r\nContent-Length: %d\r\n\r\n", len(body))
	case n < 18:
		size := fmt.Sprintf("%x", len(body))
		if f.IntN(3) == 0 {
			size = f.or(size)
		}
		fmt.Fprintf(&b, "Transfer-Encoding: chunked\r\n\r\n%s\r\n%s\r\n%s", size, body, f.one("0\r\n\r\n", "0\r\nX: y\r\n\r\n", "", "zz\r\n", "0\r\nCanary\r\n\r\n"))
		body = ""
	default:
		b.WriteString(f.one("\r\n", "\r\n", "", "Canary\r\n\r\n", ": x\r\n\r\n"))
	}
	if r.Method != http.MethodHead || f.IntN(20) == 0 {
		b.WriteString(body)
	}
	text := b.String()
	if f.IntN(15) == 0 {
		text = text[:f.IntN(len(text)+1)]
	}
	return text, f.IntN(150) == 0, f.IntN(30) == 0
}

// truth is the answer of a registry that works.
func (f foul) truth(r *http.Request) string {
	body, mediaType, ok := f.world.body(r.URL.Path)
	if !ok {
		return "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
	}
	status, more := "200 OK", ""
	var from int
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && from < len(body) {
		status, more = "206 Partial Content", fmt.Sprintf("Content-Range: bytes %d-%d/%d\r\n", from, len(body)-1, len(body))
	} else {
		from = 0
	}
	head := fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: %s\r\nDocker-Content-Digest: %s\r\nContent-Length: %d\r\n%s\r\n",
		status, mediaType, oci.Sum([]byte(body)), len(body)-from, more)
	if r.Method == http.MethodHead {
		return head
	}
	return head + body[from:]
}

func (f foul) challenge() string {
	realm := f.or("http://hub.test/token")
	switch f.IntN(8) {
	case 0:
		return f.or("Basic realm=x")
	case 1:
		return f.junk()
	case 2:
		realm = f.or("http://auth.test/token")
	case 3:
		return strings.Repeat(`Bearer realm="a", `, f.IntN(3000))
	}
	return f.or(fmt.Sprintf(`Bearer realm="%s",service="%s",scope="%s"`, realm, f.or("s"), f.or("repository:library/alpine:pull")))
}

func (f foul) body(r *http.Request) (body, mediaType string) {
	mediaType = "application/json"
	digest := oci.Sum([]byte("blob")).String()
	descriptor := fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":%s,"urls":["http://127.0.0.1/"],"artifactType":"a/b"}`,
		f.or(digest), f.or("4"))
	switch path := r.URL.Path; {
	case strings.Contains(path, "token"):
		body = fmt.Sprintf(`{"token":"%s","access_token":"%s","expires_in":%s,"issued_at":"%s","refresh_token":"canary"}`,
			f.or("canarytoken"), f.or("canarytoken"), f.or(f.one("300", "-1", "1000000000000", "1e3", `"300"`)), f.junk())
	case f.world != nil && !strings.Contains(path, "/tags/") && !strings.Contains(path, "/referrers/"):
		body, mediaType, _ = f.world.body(path)
	case strings.Contains(path, "/tags/"):
		body = fmt.Sprintf(`{"name":"%s","tags":["%s","%s"]}`, f.or("library/alpine"), f.or("1"), f.or("2"))
	case strings.Contains(path, "/blobs/"):
		body, mediaType = "blob", "application/octet-stream"
		if f.often(2) {
			body = strings.Repeat("canary ", f.IntN(10_000))
		}
	default:
		mediaType = f.one("application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
		list := descriptor + strings.Repeat(","+descriptor, []int{0, 1, 3, 3000}[f.IntN(4)]%3001)
		body = fmt.Sprintf(`{"schemaVersion":%s,"mediaType":"%s","manifests":[%s],"subject":%s}`, f.or("2"), f.or(mediaType), list, f.one(descriptor, "null", "[]", "{}"))
	}
	switch f.IntN(20) {
	case 0:
		body, mediaType = "<html>canary</html>", "text/html"
	case 1:
		body = strings.Repeat(f.one("[", `{"a":`, `{"manifests":[`), f.IntN(20_000))
	case 2:
		body = f.junk()
	case 3:
		body = fmt.Sprintf(`{"errors":[{"code":"%s","message":"canary","detail":%s}]}`, f.or(f.one("DENIED", "NAME_UNKNOWN", "MANIFEST_UNKNOWN", "TOOMANYREQUESTS")), f.one("null", `"canary"`, "{}"))
	case 4:
		body += strings.Repeat(" ", []int{10, 1000, 100_000, 5 << 20}[f.IntN(40)%4*(f.IntN(40)/39)])
	case 5:
		i := f.IntN(len(body) + 1)
		body = body[:i] + f.junk() + body[i:]
	}
	return body, mediaType
}

// serve answers the requests of one connection until its end.
func (f foul) serve(conn net.Conn, seen func(*http.Request, string)) {
	defer conn.Close()
	reader := newRequestReader(conn)
	for {
		r, body, err := reader.next()
		if err != nil {
			return
		}
		seen(r, body)
		raw, endless, silent := f.answer(r)
		if f.IntN(50) == 0 {
			time.Sleep(time.Duration(f.IntN(20)) * time.Second)
		}
		if _, err := io.WriteString(conn, raw); err != nil {
			return
		}
		zeros := make([]byte, 64<<10)
		for n := 0; endless && n < 32<<20; n += len(zeros) {
			if _, err := conn.Write(zeros); err != nil {
				return
			}
		}
		if silent {
			_, _ = io.Copy(io.Discard, conn) // until the client has had enough
			return
		}
		if f.often(2) {
			return
		}
	}
}
