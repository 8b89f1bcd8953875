package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
)

// forbidden are addresses that no upstream may lead to, in every range that is
// not public, and every form in which IPv6 holds an IPv4 address.
const forbidden = `0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.254 100.64.0.1 100.127.255.254 127.0.0.2 127.255.255.254
	169.254.169.254 169.254.0.1 172.16.0.1 172.31.255.254 192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1
	192.168.255.254 198.18.0.1 198.19.255.254 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1
	255.255.255.255
	:: ::1 ::7f00:2 ::ffff:127.0.0.2 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:7f00:2 64:ff9b::7f00:2
	64:ff9b::a9fe:a9fe 64:ff9b::a00:1 64:ff9b:1::1 64:ff9b:1:7f00:2:: 100::1 100:0:0:1::1 2001::1 2001:0:7f00:2::1
	2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:2:: 2002:a00:1::1 2002:a9fe:a9fe::1 3fff::1 4000::1 5f00::1
	8000::1 fc00::1 fd00:ec2::254 fd12:3456:789a::1 fe80::1 fe80::a9fe:a9fe febf::1 fec0::1 ff02::1 ff05::2 ff0e::1`

// spellings are hosts of URLs that browsers, C libraries or other parsers take
// for a forbidden address.
const spellings = `0x7f.2 0x7f000002 0X7F.0.0.2 2130706434 127.2 127.0.2 0177.0.0.2 0177.2 017700000002 127.0.0.2.
	0x7f.0x0.0x0.0x2 00000177.0.0.2 127.0.0.02 127.000.000.002 0xa9fea9fe 2852039166 169.254.43518 0xa.1 10.1 0 0x0 00
	1 127.0.0.2.. %31%32%37.0.0.2 127%2e0.0.2 127。0。0。2 １２７.0.0.2 ⑫7.0.0.2 127.0.0.2%00.hub.test [127.0.0.2]
	[::ffff:7f00:2] [0:0:0:0:0:ffff:127.0.0.2] [::ffff:127.0.0.2%25lo] [fe80::1%25lo] [::1%25lo] [fe80::1%lo]
	[v1.127.0.0.2] [::] [0000::0001] localhost localhost. LOCALHOST localhost.localdomain ip6-localhost
	127.0.0.2:80:80 hub.test@127.0.0.2 a:b@127.0.0.2 hub.test:x@127.0.0.2 127.0.0.2\@hub.test 127.0.0.2#@hub.test
	127.0.0.2?@hub.test`

// oddities are no URLs of a web server at all, or not the one they seem.
const oddities = `file:///etc/passwd gopher://127.0.0.2:70/x ftp://127.0.0.2/ dict://127.0.0.2:2628/ unix:///run/x.sock
	jar:http://127.0.0.2!/ javascript:alert(1) data:,x http:///x http:// http: : http://[::1 http://[ http://:80/ http://%/
	ws://127.0.0.2/ HTTP://127.0.0.2/ hTTp://127.0.0.2/ http:127.0.0.2/ http:/127.0.0.2:99999/ http://127.0.0.2:-1/
	http://127.0.0.2:0/`

// way is how an upstream leads its client to a URL.
type way struct {
	name string
	ask  func(context.Context, *Client) error
	lead func(w http.ResponseWriter, r *http.Request, to string)
}

func ways() []way {
	manifest := func(ctx context.Context, c *Client) error {
		_, err := c.Manifest(ctx, repo, tag("1"))
		return err
	}
	tokenAt := func(w http.ResponseWriter, r *http.Request) { demand(w, `Bearer realm="http://%s/token"`, r.Host) }
	return []way{
		{"redirect", manifest, func(w http.ResponseWriter, _ *http.Request, to string) { redirect(w, http.StatusTemporaryRedirect, to) }},
		{"chain", manifest, func(w http.ResponseWriter, r *http.Request, to string) {
			if r.URL.Path != "/hop" {
				to = "/hop"
			}
			redirect(w, http.StatusSeeOther, to)
		}},
		{"realm", manifest, func(w http.ResponseWriter, _ *http.Request, to string) { demand(w, `Bearer realm="%s"`, to) }},
		{"redirect of the token server", manifest, func(w http.ResponseWriter, r *http.Request, to string) {
			if r.URL.Path == "/token" {
				redirect(w, http.StatusTemporaryRedirect, to)
				return
			}
			tokenAt(w, r)
		}},
		{"blob", askBlob, func(w http.ResponseWriter, _ *http.Request, to string) { redirect(w, http.StatusFound, to) }},
		{"HEAD of a blob", askHeadBlob, func(w http.ResponseWriter, _ *http.Request, to string) { redirect(w, http.StatusFound, to) }},
		{"Link", askTags, func(w http.ResponseWriter, _ *http.Request, to string) {
			w.Header().Set("Link", "<"+to+`?last=1>; rel="next"`)
			_, _ = w.Write([]byte(`{"tags":["1"]}`))
		}},
		{
			"foreign URLs", func(ctx context.Context, c *Client) error {
				_, _ = c.Manifest(ctx, repo, tag("1"))
				return askBlob(ctx, c)
			},
			func(w http.ResponseWriter, r *http.Request, to string) {
				if strings.Contains(r.URL.Path, "/blobs/") {
					w.WriteHeader(http.StatusNotFound)
					return
				}
				w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
				fmt.Fprintf(w, `{"schemaVersion":2,"config":%[1]s,"layers":[%[1]s]}`,
					fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","size":4,"digest":%q,"urls":[%q]}`, oci.Sum([]byte("blob")), to))
			},
		},
	}
}

// journal notes which addresses connections are made to. Nothing but loopback
// is really connected to.
type journal struct {
	mu    sync.Mutex
	dials []string
}

func (j *journal) dialing(address string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.dials = append(j.dials, address)
	if ap := netip.MustParseAddrPort(address); !ap.Addr().IsLoopback() {
		return errors.New("this test stays at home")
	}
	return nil
}

func (j *journal) take() (dials []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	dials, j.dials = j.dials, nil
	return dials
}

// TestNothingLeadsInside leads a client of a registry at 127.0.0.3 to every
// forbidden address and spelling, by three of the ways each, or by all of them if
// PULLGATE_LONG is set. Connections are counted where they are made, and at a
// server on 127.0.0.2.
func TestNothingLeadsInside(t *testing.T) {
	t.Parallel()
	inside := listenOn(t, "127.0.0.2", give)
	port := portOf(inside.url)
	targets := []string{inside.url, "https://127.0.0.2:" + port, "//127.0.0.2:" + port, ""}
	zone := map[string][]string{"hub.test": {"127.0.0.3"}}
	for i, address := range strings.Fields(forbidden) {
		name := fmt.Sprintf("n%d.evil.test", i)
		zone[name] = []string{address}
		targets = append(targets, "http://"+net.JoinHostPort(address, port), "http://"+name+":"+port)
	}
	// Names that look harmless, and answers with more than one address.
	zone["hub.test.evil.test"] = []string{"127.0.0.2"}
	zone["127.0.0.1.evil.test"] = []string{"127.0.0.2"}
	zone["several.evil.test"] = []string{"10.0.0.1", "127.0.0.2", "169.254.169.254", "::1", "fe80::1"}
	for name := range zone {
		if strings.HasSuffix(name, ".evil.test") && !strings.HasPrefix(name, "n") {
			targets = append(targets, "http://"+name+":"+port, "http://"+strings.ToUpper(name)+".:"+port)
		}
	}
	for spelling := range strings.FieldsSeq(spellings) {
		targets = append(targets, "http://"+spelling+":"+port+"/x")
	}
	targets = append(targets, strings.Fields(oddities)...)

	var j journal
	var to atomic.Value
	var by way
	registry := listenOn(t, "127.0.0.3", func(w http.ResponseWriter, r *http.Request) { by.lead(w, r, to.Load().(string)) })
	at := strings.Replace(registry.url, "127.0.0.3", "hub.test", 1)
	resolver := names(t, zone)
	cases := 0
	for i, each := range ways() {
		by = each
		for k, target := range targets {
			if (i+k)%3 != 0 && os.Getenv("PULLGATE_LONG") == "" {
				continue
			}
			cases++
			to.Store(target)
			c := newClient(t, at, func(o *Options) {
				o.seams.Resolver, o.seams.Dialing = resolver, j.dialing
				o.Timeouts = Timeouts{Dial: time.Second, Operation: 2 * time.Second}
			})
			err := by.ask(t.Context(), c)
			c.Close()
			for _, dialed := range j.take() {
				if dialed != strings.TrimPrefix(registry.url, "http://") {
					t.Errorf("%s to %q: connected to %s", by.name, target, dialed)
				}
			}
			harmless := by.name == "Link" || by.name == "foreign URLs" // they are not followed at all
			switch class := oci.ClassOf(err); class {
			case oci.ClassForbidden, oci.ClassRedirect, oci.ClassToken:
			case oci.ClassDenied:
				if by.name != "realm" || target != "" {
					t.Errorf("%s to %q: class %q: %v", by.name, target, class, err)
				}
			case oci.ClassDNS:
				// The resolver of this test knows one spelling of localhost.
				if !strings.Contains(target, "local") {
					t.Errorf("%s to %q: class %q: %v", by.name, target, class, err)
				}
			default:
				if !harmless {
					t.Errorf("%s to %q: class %q: %v", by.name, target, class, err)
				}
			}
		}
	}
	if n := inside.connects.Load(); n != 0 {
		t.Errorf("%d connections to the inside", n)
	}
	t.Logf("%d ways x targets: no connection but to the registry", cases)
	if cases < 500 {
		t.Errorf("%d cases: the test proves too little", cases)
	}
}

// listener is a server whose connections are counted.
type listener struct {
	url      string
	connects atomic.Int32
}

func listenOn(t *testing.T, address string, h http.HandlerFunc) *listener {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	counted := &listener{url: "http://" + l.Addr().String()}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	server.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			counted.connects.Add(1)
		}
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-ended })
	return counted
}

// TestRebinding has names change their address between a check and a connection,
// in whichever order: what counts is the address that is connected to.
func TestRebinding(t *testing.T) {
	t.Parallel()
	inside := listenOn(t, "127.0.0.2", give)
	for _, sequence := range [][]string{
		{"8.8.8.8", "127.0.0.2"},
		{"127.0.0.2", "8.8.8.8"},
		{"8.8.8.8", "8.8.8.8", "127.0.0.2"},
		{"2606:4700::1111", "127.0.0.2"},
		{"8.8.8.8", "::1"},
		{"8.8.8.8", "169.254.169.254"},
		{"8.8.8.8", "10.0.0.1", "8.8.8.8"},
	} {
		for _, by := range ways()[:6] {
			var j journal
			var asked atomic.Int32
			s := script(t, func(w http.ResponseWriter, r *http.Request) {
				by.lead(w, r, "http://rebinding.test:"+portOf(inside.url))
			})
			c := newClient(t, strings.Replace(s.URL, "127.0.0.1", "hub.test", 1), func(o *Options) {
				o.seams.Dialing = j.dialing
				o.seams.Resolver = resolver(t, func(name string) []string {
					if name != "rebinding.test" {
						return []string{"127.0.0.1"}
					}
					// Each look-up is one question for A and one for AAAA.
					n := int(asked.Add(1)-1) / 2
					return []string{sequence[n%len(sequence)]}
				})
			})
			for range 4 {
				_ = by.ask(t.Context(), c)
			}
			for _, dialed := range j.take() {
				if !strings.HasSuffix(s.URL, dialed) && !egress.IsPublic(netip.MustParseAddrPort(dialed).Addr()) {
					t.Errorf("%s, %v: connected to %s", by.name, sequence, dialed)
				}
			}
		}
	}
	if n := inside.connects.Load(); n != 0 {
		t.Errorf("%d connections to the inside", n)
	}
}

// TestWhatMayBeLedTo is the other half: the address in the registry's URL at another
// port, and what is allowed. A name at the loopback opens none of it.
func TestWhatMayBeLedTo(t *testing.T) {
	t.Parallel()
	own, inside := listenOn(t, "127.0.0.1", give), listenOn(t, "127.0.0.2", give)
	zone := map[string][]string{"hub.test": {"127.0.0.1"}, "same.test": {"127.0.0.1"}, "inside.test": {"127.0.0.2"}}
	resolver := names(t, zone)
	for _, by := range ways()[:6] {
		for _, test := range []struct {
			url     string // its host
			to      *listener
			host    string
			allow   string
			follows bool
		}{
			{"127.0.0.1", own, "127.0.0.1", "", true},
			{"127.0.0.1", own, "same.test", "", true},
			{"127.0.0.1", own, "[::ffff:127.0.0.1]", "", true},
			{"localhost", own, "127.0.0.1", "", false},
			{"hub.test", own, "127.0.0.1", "", false},
			{"hub.test", own, "hub.test", "", false},
			{"hub.test", own, "same.test", "", false},
			{"hub.test", own, "[::ffff:127.0.0.1]", "", false},
			{"hub.test", own, "hub.test", "127.0.0.1/32", true},
			{"127.0.0.1", inside, "inside.test", "", false},
			{"hub.test", inside, "inside.test", "", false},
			{"hub.test", inside, "127.0.0.2", "127.0.0.2/32", true},
			{"hub.test", inside, "inside.test", "127.0.0.0/30", true},
			{"hub.test", inside, "inside.test", "127.0.0.3/32", false},
		} {
			s := script(t, func(w http.ResponseWriter, r *http.Request) {
				by.lead(w, r, "http://"+test.host+":"+portOf(test.to.url)+"/token")
			})
			c := newClient(t, strings.Replace(s.URL, "127.0.0.1", test.url, 1), func(o *Options) {
				if test.url != "localhost" { // which the hosts file knows
					o.seams.Resolver = resolver
				}
				if test.allow != "" {
					o.AllowAddresses = []netip.Prefix{netip.MustParsePrefix(test.allow)}
				}
			})
			before := test.to.connects.Load()
			_ = by.ask(t.Context(), c)
			c.Close()
			if went := test.to.connects.Load() > before; went != test.follows {
				t.Errorf("%s: %s to %s, allowed %q: connected %v", test.url, by.name, test.host, test.allow, went)
			}
		}
	}
}
