// Package release tests what a release consists of: the artefacts that the script make
// builds, the packages, the Helm chart and the recipes in deploy. It is a module of its
// own, for its dependencies.
package release
