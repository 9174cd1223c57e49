// The client of `specc lsp`, and the model's picture beside its text.
const vscode = require("vscode");
const { LanguageClient, TransportKind } = require("vscode-languageclient/node");

let client;
let picture; // { panel, uri }

function activate(context) {
  const [command, ...args] = vscode.workspace.getConfiguration("arec").get("server");
  client = new LanguageClient(
    "arec",
    "arec",
    { command, args, transport: TransportKind.stdio },
    { documentSelector: [{ language: "arec" }], middleware: { executeCommand } },
  );
  client.start().catch(() => {
    const advice = "pip install 'arec[lsp]' into an environment, and name its specc in the setting arec.server";
    vscode.window.showErrorMessage(`${command} did not start: ${advice}.`);
  });
  context.subscriptions.push(
    vscode.commands.registerCommand("arec.showPicture", showPicture),
    vscode.window.onDidChangeTextEditorSelection(({ textEditor }) => follow(textEditor)),
    vscode.languages.onDidChangeDiagnostics(({ uris }) => {
      if (picture && uris.some((uri) => uri.toString() === picture.uri)) draw();
    }),
  );
}

function deactivate() {
  return client && client.stop();
}

async function showPicture() {
  const editor = vscode.window.activeTextEditor;
  if (!editor || editor.document.languageId !== "arec") return;
  if (!picture) {
    const beside = { viewColumn: vscode.ViewColumn.Beside, preserveFocus: true };
    const panel = vscode.window.createWebviewPanel("arec.picture", "", beside, { enableScripts: true });
    picture = { panel, uri: "" };
    panel.onDidDispose(() => (picture = undefined));
  }
  picture.uri = editor.document.uri.toString();
  picture.panel.title = editor.document.fileName.split(/[\\/]/).pop();
  await draw();
  follow(editor);
}

// The server's answer is an SVG that it drew itself: names of the spec in it are escaped.
async function draw() {
  const svg = await client.sendRequest("workspace/executeCommand", {
    command: "arec.picture",
    arguments: [picture.uri],
  });
  if (!picture || !svg) return; // a faulty text has no picture: the last one stays
  const nonce = Math.random().toString(36).slice(2);
  picture.panel.webview.html = `<!doctype html><html><head>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-${nonce}'">
<style>body { background: white; } svg { width: 100%; height: auto; }
.here polygon, .here path { stroke-width: 3; stroke: #c0392b; }</style></head>
<body>${svg.slice(svg.indexOf("<svg"))}
<script nonce="${nonce}">
addEventListener("message", ({ data }) => {
  for (const box of document.querySelectorAll(".here")) box.classList.remove("here");
  let best = 0;
  const boxes = [...document.querySelectorAll("g.node")].map((node) => {
    const tip = node.querySelector("a")?.getAttribute("xlink:title") ?? node.querySelector("title")?.textContent ?? "";
    const line = Number(/:(\\d+)$/.exec(tip)?.[1] ?? 0);
    if (line <= data.line && line > best) best = line;
    return { node, line };
  });
  const here = boxes.filter(({ line }) => line && line === best).map(({ node }) => node);
  for (const node of here) node.classList.add("here");
  here[0]?.scrollIntoView({ block: "center", behavior: "smooth" });
});
</script></body></html>`;
}

function follow(editor) {
  if (picture && editor && editor.document.uri.toString() === picture.uri) {
    picture.panel.webview.postMessage({ line: editor.selection.active.line + 1 });
  }
}

// The page about a fault's code opens beside the text.
async function executeCommand(command, args, next) {
  const found = await next(command, args);
  if (command === "arec.explain" && found) {
    const page = await vscode.workspace.openTextDocument({ content: found, language: "markdown" });
    await vscode.window.showTextDocument(page, vscode.ViewColumn.Beside);
  }
  return found;
}

module.exports = { activate, deactivate };
