package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
)

// lure is a way in which a registry can try to get secrets to another origin.
type lure struct {
	name string
	// identity is an identity token in place of user name and password.
	identity bool
	// ask is the operation; nil = get a manifest by tag.
	ask func(context.Context, *Client) error
	// registry and other answer requests; other nil = what is asked for, or a
	// token. There self and elsewhere are the URLs of the two, third that of one
	// more origin.
	registry, other func(x act)
}

// act is one request in a case.
type act struct {
	w                      http.ResponseWriter
	r                      *http.Request
	self, elsewhere, third string
}

func (x act) authorized() bool { return x.r.Header.Get("Authorization") != "" }

// is reports whether the path begins so.
func (x act) is(path string) bool { return strings.HasPrefix(x.r.URL.Path, path) }

// give answers like a registry, a CDN and a token server at once.
func (x act) give() {
	switch {
	case x.is("/token"):
		_, _ = io.WriteString(x.w, `{"token":"canary-bearer","refresh_token":"canary-refresh"}`)
	case strings.Contains(x.r.URL.Path, "/tags/"):
		_, _ = io.WriteString(x.w, `{"name":"library/alpine","tags":["1"]}`)
	case strings.Contains(x.r.URL.Path, "/blobs/"):
		_, _ = io.WriteString(x.w, "blob")
	default:
		sendIndex(x.w)
	}
}

// basic demands the password, and then does what then says.
func basic(then func(x act)) func(x act) {
	return func(x act) {
		if !x.authorized() {
			demand(x.w, `Basic realm="x"`)
			return
		}
		then(x)
	}
}

// bearer demands a token of its own token server, and then does what then says.
func bearer(then func(x act)) func(x act) {
	return func(x act) {
		switch {
		case x.is("/token"):
			x.give()
		case !x.authorized():
			demand(x.w, `Bearer realm="%s/token",service="canary-service"`, x.self)
		default:
			then(x)
		}
	}
}

func toElsewhere(status int) func(x act) {
	return func(x act) { redirect(x.w, status, x.elsewhere+"/x") }
}

// elsewhereToken is what a token server gives that got no secret.
func elsewhereToken(x act) {
	if x.is("/token") {
		_, _ = io.WriteString(x.w, `{"token":"anonymous"}`)
		return
	}
	x.give()
}

func askBlob(ctx context.Context, c *Client) error {
	b, err := c.Blob(ctx, repo, oci.Sum([]byte("blob")), 0, -1)
	if err != nil {
		return err
	}
	defer b.Close()
	_, err = io.Copy(io.Discard, b)
	return err
}

func askHeadBlob(ctx context.Context, c *Client) error {
	_, err := c.HeadBlob(ctx, repo, oci.Sum([]byte("blob")))
	return err
}

func askHead(ctx context.Context, c *Client) error {
	_, err := headManifest(ctx, c, repo, tag("1"))
	return err
}

func askTags(ctx context.Context, c *Client) error {
	list, err := c.Tags(ctx, repo, oci.TagsCursor{})
	for range 3 {
		if err != nil || list.Next == (oci.TagsCursor{}) {
			break
		}
		list, err = c.Tags(ctx, repo, list.Next)
	}
	return err
}

func askReferrers(ctx context.Context, c *Client) error {
	_, err := c.Referrers(ctx, repo, oci.Sum([]byte("x")))
	return err
}

func lures() []lure {
	all := []lure{
		{name: "realm", registry: func(x act) {
			if x.authorized() {
				x.give()
			} else {
				demand(x.w, `Bearer realm="%s/token",service="s"`, x.elsewhere)
			}
		}},
		{name: "realm, identity token", identity: true, registry: func(x act) {
			demand(x.w, `Bearer realm="%s/token",service="s"`, x.elsewhere)
		}},
		{name: "realm after one of its own", registry: bearer(func(x act) { demand(x.w, `Bearer realm="%s/token"`, x.elsewhere) })},
		{name: "realm of the ping alone", registry: func(x act) {
			if x.r.URL.Path == "/v2/" {
				demand(x.w, `Bearer realm="%s/token"`, x.elsewhere)
			} else {
				x.give()
			}
		}},
		{name: "realm beside Basic", registry: func(x act) {
			x.w.Header().Add("WWW-Authenticate", `Basic realm="x"`)
			x.w.Header().Add("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token"`, x.elsewhere))
			x.w.WriteHeader(http.StatusUnauthorized)
		}},
		{name: "realm with the registry as user", registry: func(x act) {
			demand(x.w, `Bearer realm="%s/token"`, strings.Replace(x.elsewhere, "://", "://hub.corp.test@", 1))
		}},
		{name: "realm, then a token that it wants back", registry: func(x act) {
			demand(x.w, `Bearer realm="%s/token",error="invalid_token",scope="%s"`, x.elsewhere, x.r.Header.Get("Authorization"))
		}},
		{name: "there and back", registry: basic(func(x act) {
			if x.is("/back") {
				redirect(x.w, http.StatusFound, x.elsewhere+"/again")
				return
			}
			redirect(x.w, http.StatusFound, x.elsewhere+"/x")
		}), other: func(x act) {
			if x.is("/again") {
				x.give()
				return
			}
			redirect(x.w, http.StatusFound, x.self+"/back")
		}},
		{name: "chain to a third", registry: basic(toElsewhere(http.StatusTemporaryRedirect)), other: func(x act) {
			if x.is("/y") {
				x.give()
				return
			}
			redirect(x.w, http.StatusTemporaryRedirect, x.third+"/y")
		}},
		{name: "chain from within", registry: basic(func(x act) {
			if x.is("/within") {
				redirect(x.w, http.StatusSeeOther, x.elsewhere+"/x")
				return
			}
			redirect(x.w, http.StatusSeeOther, "/within")
		})},
		{
			name: "Basic challenge behind a redirect", registry: basic(toElsewhere(http.StatusTemporaryRedirect)),
			other: func(x act) { demand(x.w, `Basic realm="x"`) },
		},
		{name: "Bearer challenge behind a redirect", registry: basic(toElsewhere(http.StatusTemporaryRedirect)), other: func(x act) {
			if x.is("/token") {
				elsewhereToken(x)
				return
			}
			demand(x.w, `Bearer realm="%s/token"`, x.elsewhere)
		}},
		{
			name: "challenge behind a redirect, with the registry's realm", registry: bearer(toElsewhere(http.StatusFound)),
			other: func(x act) { demand(x.w, `Bearer realm="%s/token"`, x.self) },
		},
		{
			name: "redirect of the ping", registry: func(x act) { redirect(x.w, http.StatusFound, x.elsewhere+"/v2/") },
			other: func(x act) { demand(x.w, `Basic realm="x"`) },
		},
		{name: "redirect of the token server", registry: func(x act) {
			if x.is("/token") {
				redirect(x.w, http.StatusTemporaryRedirect, x.elsewhere+"/token")
				return
			}
			bearer(act.give)(x)
		}},
		{name: "redirect of the token server, identity token", identity: true, registry: func(x act) {
			if x.is("/token") {
				redirect(x.w, http.StatusPermanentRedirect, x.elsewhere+"/token")
				return
			}
			bearer(act.give)(x)
		}},
		{name: "challenge of the token server", registry: func(x act) {
			if x.is("/token") {
				demand(x.w, `Bearer realm="%s/token"`, x.elsewhere)
				return
			}
			bearer(act.give)(x)
		}},
		{name: "407 of the registry", registry: basic(func(x act) {
			x.w.Header().Set("Proxy-Authenticate", `Basic realm="x"`)
			x.w.Header().Set("Location", x.elsewhere+"/x")
			x.w.WriteHeader(http.StatusProxyAuthRequired)
		})},
		{name: "401 with a Location", registry: func(x act) {
			x.w.Header().Set("Location", x.elsewhere+"/x")
			demand(x.w, `Basic realm="x"`)
		}},
		{name: "headers that browsers follow", registry: basic(func(x act) {
			for _, name := range []string{"Refresh", "Content-Location", "Alt-Svc", "Link", "Strict-Transport-Security"} {
				x.w.Header().Set(name, x.elsewhere+"/x")
			}
			x.w.Header().Set("Alt-Svc", fmt.Sprintf("http/1.1=%q", strings.TrimPrefix(x.elsewhere, "https://")))
			x.give()
		})},
		{name: "Set-Cookie", registry: basic(func(x act) {
			x.w.Header().Set("Set-Cookie", "a=canary-cookie; Domain=test; Path=/")
			redirect(x.w, http.StatusFound, x.elsewhere+"/x")
		})},
		{name: "a signed URL, then a third", registry: basic(func(x act) {
			redirect(x.w, http.StatusFound, x.elsewhere+"/x?back=1")
		}), other: func(x act) {
			if x.is("/y") {
				x.give()
				return
			}
			x.w.Header().Set("Referrer-Policy", "unsafe-url")
			redirect(x.w, http.StatusFound, x.third+"/y")
		}},
		{name: "Location with a user", registry: basic(func(x act) {
			redirect(x.w, http.StatusFound, strings.Replace(x.elsewhere, "://", "://a:b@", 1)+"/x")
		})},
		{name: "Location with the registry as user", registry: basic(func(x act) {
			redirect(x.w, http.StatusFound, strings.Replace(x.elsewhere, "://", "://"+x.r.Host+"@", 1)+"/x")
		})},
		{name: "Location without a scheme", registry: basic(func(x act) {
			_, rest, _ := strings.Cut(x.elsewhere, ":")
			redirect(x.w, http.StatusFound, rest+"/x")
		})},
		{name: "foreign URLs of a manifest", ask: func(ctx context.Context, c *Client) error {
			if _, err := c.Manifest(ctx, repo, tag("1")); err != nil {
				return err
			}
			return askBlob(ctx, c)
		}, registry: basic(func(x act) {
			if strings.Contains(x.r.URL.Path, "/blobs/") {
				x.w.WriteHeader(http.StatusNotFound)
				return
			}
			x.w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			fmt.Fprintf(x.w, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%[1]s,"layers":[%[1]s]}`,
				fmt.Sprintf(`{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","size":4,"digest":%q,"urls":["%s/x"]}`, oci.Sum([]byte("blob")), x.elsewhere))
		})},
		{name: "Link of tags", ask: askTags, registry: basic(func(x act) {
			x.w.Header().Set("Link", "<"+x.elsewhere+`/v2/library/alpine/tags/list?last=1>; rel="next"`)
			x.give()
		})},
		{name: "Link of tags without a scheme", ask: askTags, registry: basic(func(x act) {
			_, rest, _ := strings.Cut(x.elsewhere, ":")
			x.w.Header().Set("Link", "<"+rest+`/v2/library/alpine/tags/list?last=1>; rel="next"`)
			x.give()
		})},
		{name: "Link of referrers", ask: askReferrers, registry: basic(func(x act) {
			x.w.Header().Set("Link", "<"+x.elsewhere+`/v2/library/alpine/referrers/x?last=1>; rel="next"`)
			x.give()
		})},
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		all = append(all, lure{name: fmt.Sprintf("redirect %d", status), registry: basic(toElsewhere(status))})
	}
	for name, ask := range map[string]func(context.Context, *Client) error{
		"HEAD of a manifest": askHead, "blob": askBlob, "HEAD of a blob": askHeadBlob, "tags": askTags, "referrers": askReferrers,
	} {
		all = append(all, lure{name: "redirect with a token, " + name, ask: ask, registry: bearer(func(x act) {
			redirect(x.w, http.StatusTemporaryRedirect, x.elsewhere+x.r.URL.Path)
		})})
	}
	return all
}
