package registrytest

import "net/http"

// zot answers everybody for what is public, and the ping with a challenge beside the
// 200, in lower case and without quotes. Its error of a 401 is no list. One that pulls
// on demand has no blob before the manifest was asked for.
func zot() []Profile {
	usual := Profile{
		Name: "zot",
		Auth: Authority{
			Open: true, OpenPing: true, Basic: true,
			Pull: Reply{
				Status: http.StatusUnauthorized, Body: `{"code":"UNAUTHORIZED","message":"authentication required","description":"The access controller was unable to authenticate the client."}`,
			}.with(`Basic realm="Authorization Required"`),
			Denied: problem(http.StatusForbidden, "DENIED", "requested access to the resource is denied").with(`Basic realm="Authorization Required"`),
		},
		Welcome: Reply{Status: http.StatusOK, Body: "{}"}.with(`basic realm=zot`),
		Then:    []Step{Redirect{Kind: "blobs", Method: http.MethodGet, Unranged: true, To: "/zot/{hex}?X-Amz-Signature={id}"}.Step},
		Tags: TagList{
			Link: `</v2/{name}/tags/list?n={n}&last={lastraw}>; rel="next"`, LastGone: Reply{Status: http.StatusNotFound},
		},
	}
	onDemand := usual
	onDemand.Name = "zot-sync"
	onDemand.Then = []Step{HeadFetches, ManifestFirst}
	return []Profile{usual, onDemand}
}
