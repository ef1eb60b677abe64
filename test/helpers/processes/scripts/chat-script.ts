// Writes a conversation by a chat template, to be killed by the tests: chat-script.mjs TEMPLATE
import { renderTemplate } from "../../../../backend/models/tokenizers/chat/process.ts";

renderTemplate(process.argv[2] ?? "", { messages: [] });
