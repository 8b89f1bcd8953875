package upstream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// land is a network with addresses that this machine cannot have: names that resolve to
// them, and servers there. All that a client does passes the guard as it would.
type land struct {
	mu      sync.Mutex
	names   map[string][]string     // as DNS tells now
	servers map[string]http.Handler // by address and port
	dials   []string                // what was connected to
}

// placed is a connection to where it seems to go.
type placed struct {
	net.Conn
	at netip.AddrPort
}

func (c placed) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.at) }

// client returns a client of a URL in the land.
func (l *land) client(t *testing.T, at string, change ...func(*Options)) *Client {
	t.Helper()
	actual := map[string]string{}
	for address, handler := range l.servers {
		s := httptest.NewServer(handler)
		t.Cleanup(s.Close)
		actual[address] = s.Listener.Addr().String()
	}
	c := newClient(t, at, change...)
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		addresses, named := l.names[host]
		if !named {
			addresses = []string{host}
		}
		var errs []error
		for _, a := range addresses {
			to := net.JoinHostPort(a, port)
			if err := c.network.Transports.Guard.Control(ctx, network, to, nil); err != nil {
				errs = append(errs, err)
				continue
			}
			l.dials = append(l.dials, to)
			if actual[to] == "" {
				errs = append(errs, errors.New("nobody is there"))
				continue
			}
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", actual[to])
			return placed{conn, netip.MustParseAddrPort(to)}, err
		}
		return nil, errors.Join(errs...)
	}
	c.network.Transports.Home.DialContext, c.network.Transports.Abroad.DialContext = dial, dial
	return c
}

func (l *land) move(name string, to ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names[name] = to
}

func (l *land) dialed(address string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.dials, address)
}

// leadTo answers requests for hub.test by leading elsewhere, and all others with what
// they want.
func leadTo(by way, to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if host, _, _ := net.SplitHostPort(r.Host); (r.Host == "hub.test" || host == "hub.test") && r.URL.Path != "/there" {
			by.lead(w, r, to)
			return
		}
		give(w, r)
	}
}

// The address that counts as the upstream's own is that of the connection that has led
// there, at the same port. Other addresses that its name has, or gets, open nothing.
func TestOwnAddressIsThatOfTheConnection(t *testing.T) {
	t.Parallel()
	for _, by := range ways()[:6] {
		for _, test := range []struct {
			name      string
			addresses []string // of hub.test
			to        string   // where that leads
			dialed    string
			follows   bool
		}{
			{"a virtual host beside it", []string{"10.1.1.1"}, "http://cdn.test:5000/there", "10.1.1.1:5000", true},
			{"its address", []string{"10.1.1.1"}, "http://10.1.1.1:5000/there", "10.1.1.1:5000", true},
			{"its address at another port", []string{"10.1.1.1"}, "http://10.1.1.1:22/there", "10.1.1.1:22", false},
			{"its name at another port", []string{"10.1.1.1"}, "http://hub.test:22/there", "10.1.1.1:22", false},
			{"a virtual host at another port", []string{"10.1.1.1"}, "http://cdn.test/there", "10.1.1.1:80", false},
			{"its second address", []string{"8.8.8.8", "10.1.1.1"}, "http://cdn.test:5000/there", "10.1.1.1:5000", false},
			{"its second address, literally", []string{"8.8.8.8", "10.1.1.1"}, "http://10.1.1.1:5000/there", "10.1.1.1:5000", false},
			{"its second address at the loopback", []string{"8.8.8.8", "127.0.0.1"}, "http://127.0.0.1:5000/there", "127.0.0.1:5000", false},
			{"its second private address", []string{"10.2.2.2", "10.1.1.1"}, "http://cdn.test:5000/there", "10.1.1.1:5000", false},
			{"the loopback that it lies at", []string{"127.0.0.1"}, "http://127.0.0.1:5000/there", "127.0.0.1:5000", false},
			{"a public one", []string{"8.8.8.8"}, "http://1.1.1.1/there", "1.1.1.1:80", true},
		} {
			at := leadTo(by, test.to)
			l := land{
				names: map[string][]string{"hub.test": test.addresses, "cdn.test": {"10.1.1.1"}},
				servers: map[string]http.Handler{
					"8.8.8.8:5000": at, "10.1.1.1:5000": at, "10.2.2.2:5000": at, "127.0.0.1:5000": at,
					"10.1.1.1:22": at, "10.1.1.1:80": at, "1.1.1.1:80": at,
				},
			}
			c := l.client(t, "http://hub.test:5000")
			if err := by.ask(t.Context(), c); test.follows != (err == nil) && (by.name == "redirect" || by.name == "chain") {
				t.Errorf("%s, %s: %v", by.name, test.name, err)
			}
			// Where it is dialed for itself, a second connection tells.
			want := test.follows || net.JoinHostPort(test.addresses[0], "5000") == test.dialed
			if went := l.dialed(test.dialed); went != want {
				t.Errorf("%s, %s: connected %v", by.name, test.name, went)
			}
			c.Close()
		}
	}
}

// A challenge outlives its connection, but leads no further than that did, wherever the
// upstream's name leads meanwhile.
func TestChallengeIsThatOfItsConnection(t *testing.T) {
	t.Parallel()
	for first, follows := range map[string]bool{"10.1.1.1": true, "8.8.8.8": false} {
		tokens := 0
		at := func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Host == "auth.test:5000":
				tokens++
				give(w, r)
			case r.Header.Get("Authorization") == "":
				demand(w, `Bearer realm="http://auth.test:5000/token"`)
			default:
				give(w, r)
			}
		}
		l := land{
			names: map[string][]string{"hub.test": {first}, "auth.test": {first}},
			servers: map[string]http.Handler{
				"8.8.8.8:5000": http.HandlerFunc(at), "10.1.1.1:5000": http.HandlerFunc(at),
			},
		}
		now := newClock()
		c := l.client(t, "http://hub.test:5000", func(o *Options) { o.Now = now.Now })
		for i, want := range []int{1, map[bool]int{true: 2, false: 1}[follows]} {
			_, err := c.Manifest(t.Context(), repo, tag("1"))
			if ok := i == 0 || follows; ok != (err == nil) || tokens != want {
				t.Errorf("named by %s: %v, %d tokens, want %d", first, err, tokens, want)
			}
			// DNS leads inside now, and the token has expired.
			l.move("auth.test", "10.1.1.1")
			c.network.Transports.CloseIdle()
			now.add(time.Hour)
		}
	}
}

// A kept connection that one leader may use is not kept for others.
func TestKeptConnectionIsCheckedAgain(t *testing.T) {
	t.Parallel()
	there := 0
	at := func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "hub.test:5000" {
			redirect(w, http.StatusFound, "http://cdn.test:5000/there")
			return
		}
		there++
		give(w, r)
	}
	l := land{
		names: map[string][]string{"hub.test": {"10.1.1.1"}, "cdn.test": {"10.1.1.1"}},
		servers: map[string]http.Handler{
			"8.8.8.8:5000": http.HandlerFunc(at), "10.1.1.1:5000": http.HandlerFunc(at),
		},
	}
	c := l.client(t, "http://hub.test:5000")
	for range 2 {
		if _, err := c.Manifest(t.Context(), repo, tag("1")); err != nil {
			t.Fatal(err)
		}
	}
	if there != 2 || len(l.dials) != 2 {
		t.Errorf("%d requests, connections to %v", there, l.dials)
	}
	l.move("hub.test", "8.8.8.8")
	c.network.Transports.Home.CloseIdleConnections()
	_, err := c.Manifest(t.Context(), repo, tag("1"))
	wantClass(t, err, oci.ClassForbidden)
	if there != 2 {
		t.Error("the connection of another leader was used")
	}
}

// The operator's word opens a private address to tokens, and to nothing else.
func TestAuthOriginMayBePrivate(t *testing.T) {
	t.Parallel()
	for _, by := range ways()[:3] {
		at := leadTo(by, "http://auth.test/token")
		l := land{
			names:   map[string][]string{"hub.test": {"8.8.8.8"}, "auth.test": {"10.1.1.1"}},
			servers: map[string]http.Handler{"8.8.8.8:80": at, "10.1.1.1:80": at},
		}
		c := l.client(t, "http://hub.test", func(o *Options) { o.AuthOrigins = []string{"http://auth.test"} })
		_ = by.ask(t.Context(), c)
		if went := l.dialed("10.1.1.1:80"); went != (by.name == "realm") {
			t.Errorf("%s: connected %v", by.name, went)
		}
	}
}

// The configured URL itself is not at addresses that give out secrets of this machine,
// whatever its DNS says.
func TestUpstreamIsNoMetadataService(t *testing.T) {
	t.Parallel()
	for address, allow := range map[string]bool{
		"169.254.169.254": false, "168.63.129.16": false, "100.100.100.200": false, "192.0.0.192": false, "fd00:ec2::254": false,
		"0.0.0.0": false, "::": false, "::ffff:169.254.169.254": false, "64:ff9b::a9fe:a9fe": false, "fe80::a9fe:a9fe": false,
		"169.254.7.7": true, "fe80::7": true,
	} {
		for _, host := range []string{"hub.test", address} {
			for _, allowed := range []bool{false, true} {
				var j journal
				c := newClient(t, "http://"+net.JoinHostPort(host, "80"), func(o *Options) {
					o.seams.Resolver, o.seams.Dialing = names(t, map[string][]string{"hub.test": {address}}), j.dialing
					if allowed {
						o.AllowAddresses = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
					}
				})
				_, err := c.Manifest(t.Context(), repo, tag("1"))
				may := allow && allowed
				if dials := j.take(); may != (len(dials) > 0) {
					t.Errorf("%s at %s, allowed %v: connected to %v", host, address, allowed, dials)
				}
				if !may {
					wantClass(t, err, oci.ClassForbidden)
				}
			}
		}
	}
}
