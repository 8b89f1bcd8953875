package registrytest

import (
	"net/http"
	"time"
)

// nvidia is nvcr.io: no service in any challenge, an empty scope in that of the ping,
// which is a web page, and another realm, which gives nothing, for a token that it
// does not take.
func nvidia() Profile {
	const bearer = `Bearer realm="{self}/proxy_auth"`
	page := Reply{Status: http.StatusUnauthorized, Type: "text/html", Body: "<html><head><title>401 Authorization Required</title></head></html>\r\n"}
	moved := unauthorized(`Bearer realm="{token}/token",scope="repository:{name}:pull"`)
	return Profile{
		Name: "nvcr.io", Naming: "nvidia/%s/%s",
		Auth: Authority{
			HidesMissing: true,
			Ping:         page.with(bearer + `,scope=""`), Pull: unauthorized(bearer + `,scope="repository:{name}:pull"`),
			Stale: moved, Denied: moved,
			Tokens: &Tokens{
				Path: "/proxy_auth", Answer: `{"token":"{value}","expires_in":{life}}`, Life: 10 * time.Minute,
				Refused: problem(http.StatusForbidden, "DENIED", "Access Denied"),
			},
		},
		Then: []Step{
			Redirect{Kind: "blobs", Method: http.MethodGet, To: "/org/nvidia/layers/{hex}?Signature={id}"}.Step,
		},
		Tags: TagList{Ignored: true},
	}
}
