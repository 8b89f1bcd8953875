package registrytest

import (
	"net/http"
	"time"
)

// azure is Azure Container Registry with anonymous pull for what is public: the
// token has the name access_token and no life, links hold an empty parameter, and a
// manifest whose type is not asked for is not found.
func azure() Profile {
	const bearer = `Bearer realm="{self}/oauth2/token",service="{host}"`
	denied := Reply{
		Status: http.StatusUnauthorized,
		Body:   `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":[{"Type":"repository","Name":"{name}","Action":"pull"}]}]}`,
	}
	return Profile{
		Name: "azurecr.io",
		Auth: Authority{
			HidesMissing: true, Basic: true,
			Ping: unauthorized(bearer), Pull: denied.with(bearer + `,scope="repository:{name}:pull"`),
			Denied: denied.with(bearer + `,scope="repository:{name}:pull",error="insufficient_scope"`),
			Tokens: &Tokens{
				Path: "/oauth2/token", Answer: `{"access_token":"{value}"}`, Life: 75 * time.Minute,
				Refused: unauthorized(), Needs: []string{"service"},
			},
		},
		Then: []Step{
			WantsType(Match{}, problem(http.StatusNotFound, "MANIFEST_UNKNOWN", "OCI manifest found, but accept header does not support OCI manifests")),
			Redirect{
				Kind: "blobs", To: "/0a1b2c//docker/registry/v2/blobs/sha256/{hex}/data?se=2026-01-01&sig={id}&sp=r&sr=b",
				Answer: map[string]string{"Etag": `"0x8DAF{id}"`},
			}.Step,
		},
		Tags: TagList{Page: 100, Link: `</v2/{name}/tags/list?last={last}&n={n}&orderby=>; rel="next"`},
	}
}
