/** What a vSphere API says first: who it is, and where its services are. Pure. */
import { RemoteProtocolError } from '../base/index.ts'
import { childOf, type Element, type ManagedRef, refOf, requireRef, textOf } from './element.ts'

export const SERVICE_INSTANCE: ManagedRef = { type: 'ServiceInstance', value: 'ServiceInstance' }

export interface About {
  /** `VMware vCenter Server`. */
  readonly name: string
  readonly version: string
  readonly build: string
  /** `7.0.3.0`. */
  readonly apiVersion: string
  /** A stand-alone host cannot tell where its VMs moved to. */
  readonly isVcenter: boolean
  /** Null on a stand-alone host. */
  readonly instanceUuid: string | null
}

export interface ServiceContent {
  readonly about: About
  readonly rootFolder: ManagedRef
  readonly propertyCollector: ManagedRef
  readonly sessionManager: ManagedRef
  readonly viewManager: ManagedRef
  readonly searchIndex: ManagedRef
  readonly optionManager: ManagedRef | null
  /** Null on a stand-alone host. */
  readonly customFieldsManager: ManagedRef | null
}

/** @throws RemoteProtocolError VSPC_VSPHERE_ANSWER when something that every server has is missing. */
export function readServiceContent(response: Element): ServiceContent {
  const content = childOf(response, 'returnval')
  const about = childOf(content, 'about')
  if (content === null || about === null) {
    throw new RemoteProtocolError('VSPC_VSPHERE_ANSWER', 'this vSphere API does not say what it is')
  }
  const say = (name: string): string => textOf(about, name) ?? ''
  return {
    about: {
      name: say('name'),
      version: say('version'),
      build: say('build'),
      apiVersion: say('apiVersion'),
      isVcenter: say('apiType') === 'VirtualCenter',
      instanceUuid: textOf(about, 'instanceUuid'),
    },
    rootFolder: requireRef(content, 'rootFolder'),
    propertyCollector: requireRef(content, 'propertyCollector'),
    sessionManager: requireRef(content, 'sessionManager'),
    viewManager: requireRef(content, 'viewManager'),
    searchIndex: requireRef(content, 'searchIndex'),
    optionManager: refOf(content, 'setting'),
    customFieldsManager: refOf(content, 'customFieldsManager'),
  }
}
