import { walkMetadata } from '../metadata/walk.ts'

await walkMetadata()
