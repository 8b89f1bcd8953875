package imagelist_test

import (
	"fmt"
	"strings"

	"github.com/pullgate/pullgate/internal/imagelist"
)

func ExampleRead() {
	images, err := imagelist.Read("pod.yaml", strings.NewReader(`
kind: Pod
apiVersion: v1
spec:
  containers:
  - image: nginx
  - image: ghcr.io/org/app:1.2
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, image := range images {
		fmt.Println(image)
	}
	// Output:
	// docker.io/library/nginx:latest
	// ghcr.io/org/app:1.2
}
