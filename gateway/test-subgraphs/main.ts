import { serviceConfig } from '@berth/platform/config'
import { runService } from '@berth/platform/lifecycle'
import { openTestSubgraph } from './subgraphs.ts'

// A subgraph in a process of its own, to be killed: it does not outlive the test that started it.
process.on('disconnect', () => process.exit())
await runService(process.env.BERTH_SERVICE ?? '', serviceConfig, openTestSubgraph)
