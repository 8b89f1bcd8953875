package registrytest

import (
	"net/http"
	"strings"
	"time"
)

// artifactory is a remote repository of Artifactory: the first component of a name is
// the key of a repository, which has a realm of its own and stands not in the scope. A
// blob is missing until a manifest that names it was got; whether HEAD is enough is not
// known, and here it is not. A list that was cut has no link. Older ones name no scope
// to a HEAD.
func artifactory() Profile {
	const bearer = `Bearer realm="{self}/artifactory/api/docker/{key}/v2/token",service="{host}"`
	message := `{"errors":[{"status":401,"message":"Authentication is required"}]}`
	unknown := Reply{
		Status: http.StatusNotFound,
		Body:   `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"The named manifest is not known to the registry.","detail":{"manifest":"{rest}"}}]}`,
	}
	return Profile{
		Name: "artifactory", Naming: "%s/bitnami/%s",
		Auth: Authority{
			Basic: true,
			Ping:  unauthorized(`Bearer realm="{self}/v2/token",service="{host}"`),
			Pull:  unauthorized(bearer + `,scope="repository:{rest}:pull"`),
			Tokens: &Tokens{
				Path: "/v2/token", Realm: "/artifactory/api/docker/", Answer: `{"token":"{value}","expires_in":{life}}`, Life: 9000 * time.Second,
				Name: func(v *Visit, name string) string {
					key := before(strings.TrimPrefix(v.r.URL.Path, "/artifactory/api/docker/"))
					return key + "/" + strings.TrimPrefix(name, key+"/") // it is not known to mind
				},
				Stranger: Reply{Status: http.StatusUnauthorized, Body: `{"errors":[{"status":401,"message":"Bad Credentials"}]}`},
				Refused:  Reply{Status: http.StatusUnauthorized, Body: message},
			},
		},
		First: []Step{scopelessHead(bearer)},
		Then: []Step{
			Dress(Match{Kind: "manifests", Method: http.MethodGet}, map[string]string{
				"Etag": "0a4d55a8d778e5022fab701977c5d840bbc486d0", "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
				"X-Artifactory-Filename": "manifest.json", "Content-Disposition": `attachment; filename="manifest.json"`,
			}),
			ManifestFirst, noReferrers,
		},
		Missing:   map[string]Reply{"manifests": unknown, "tags": unknown},
		Tags:      TagList{},
		Referrers: ReferrersTag,
	}
}

func scopelessHead(challenge string) Step {
	return func(v *Visit, next func(*Visit)) {
		if v.r.Method == http.MethodHead && v.holder == nobody && v.kind != "ping" {
			v.reply(unauthorized(challenge))
			return
		}
		next(v)
	}
}
