// Node: amqplib and undici, no logic and no ledger. node.cjs AMQP_URL QUEUE API IN_FLIGHT CALLS  (2: look-up and PATCH; 1: PATCH)
const amqp = require("amqplib");
const { Pool } = require("undici");

async function main([url, queue, api, inFlight, calls]) {
  const pool = new Pool(api, { connections: Number(inFlight), pipelining: 1 });
  const root = "/core/api/v4/integration/tasks";
  const ask = async (method, path, body) => {
    const answer = await pool.request({ method, path, body, headers: { "content-type": "application/json" } });
    return answer.body.json();
  };
  const connection = await amqp.connect(url);
  const channel = await connection.createChannel();
  await channel.prefetch(Number(inFlight));
  await channel.consume(queue, async (message) => {
    const { data } = JSON.parse(message.content);
    let id = `t-${data.externalId}`;
    if (calls === "2") {
      const path = `${root}/by-project-number/${data.project.number}/by-task-number/${data.externalId}/list`;
      id = (await ask("GET", path))[0].id;
    }
    await ask("PATCH", `${root}/${id}`, JSON.stringify({ name: data.name }));
    channel.ack(message);
  });
}

main(process.argv.slice(2));
