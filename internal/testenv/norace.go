//go:build !race

package registrytest

const raceDetector = false
